"""Market-1501: 32,668 boxes of 1,501 people from six cameras, as published in 2015.

Source of the images: Zheng et al., "Scalable Person Re-identification: A Benchmark". Source of
the attributes: `market_attribute.mat` of vana77/Market-1501_Attribute, one row per identity.
"""

from typing import ClassVar

import tensorflow_datasets as tfds

from fgsam_jax.data.datasets.market_layout import MarketLayout
from fgsam_jax.labels.attributes import MARKET1501


class Market1501(MarketLayout):
    """Builder of Market-1501."""

    name = "market1501"
    VERSION = tfds.core.Version("1.1.0")
    TITLE = "Market-1501"
    PUBLISHED: ClassVar = {"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 750)}
    ATTRIBUTES = MARKET1501
    STRUCT = "market_attribute"
    FIELDS: ClassVar = {
        "gender": "gender",
        "hair": "hair",
        "hat": "hat",
        "age": "age",
        "backpack": "backpack",
        "upper_colour": "up-",
        "bag": "bag",
        "sleeve": "up",
        "handbag": "handbag",
        "lower_type": "clothes",
        "lower_colour": "down-",
        "lower_length": "down",
    }
