"""Formats of labels: one module for each, which registers what reads it and what writes it."""

from labelling.formats import (
    class_folders,
    coco,
    cvat,
    datumaro,
    huggingface,
    label_studio,
    labels_csv,
    list_csv,
    pascal_voc,
)

__all__ = [
    "class_folders",
    "coco",
    "cvat",
    "datumaro",
    "huggingface",
    "label_studio",
    "labels_csv",
    "list_csv",
    "pascal_voc",
]
