"""Networks and parts of them that several models are made of."""
