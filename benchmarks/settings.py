"""The product's settings and one more endpoint, by which the cost of a request that asks nothing is measured."""

from soorma_site.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
