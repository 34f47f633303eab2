"""Statistics of ImageNet with which pretrained networks normalise."""

IMAGENET_MEAN: tuple[float, ...] = (0.485, 0.456, 0.406)
IMAGENET_STD: tuple[float, ...] = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet that are in use (recipe, section 1.0)."""
