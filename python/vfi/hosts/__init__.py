"""Programs in which people work already: what they call, for frames as they hold them."""
