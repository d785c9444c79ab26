"""The showroom: a generated home-decor catalogue with photographs, seller's texts and queries."""

from mmr.data.showroom.render import write_showroom

__all__ = ["write_showroom"]
