"""`python -m vfi.commands.make_clips`: clips with captions from videos, as vfi.data.captioned reads them."""
