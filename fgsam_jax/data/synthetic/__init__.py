"""Rendered pedestrians in the layouts of Market-1501 and COCO."""
