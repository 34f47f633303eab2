"""Networks that leave: folders in the layout of Hugging Face's hub, their model cards, and the way to the hub."""
