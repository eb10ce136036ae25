"""From images to a store of pixels."""
