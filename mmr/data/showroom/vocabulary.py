"""What the showroom sells and the words for it.

The first word of each entry is the canonical value of the `true_*` attribute; all words of an entry
may stand in a seller's text or a query. No word belongs to two values of one attribute.
"""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Colour:
    """A colour: its words, its paint, and how often it is made (relative weight)."""

    words: tuple[str, ...]
    rgb: Rgb
    weight: float


@dataclass(frozen=True)
class ProductType:
    """A kind of product.

    Attributes:
        words: What it is called.
        literal: What a bad machine translation calls it.
        materials, shapes: What it is made of, and in which forms.
        sizes: What the size label says.
        rooms: Where it stands, for descriptions.
        hangs: Whether it hangs or lies flat; else it stands and throws a shadow on the floor.
    """

    words: tuple[str, ...]
    literal: str
    materials: tuple[str, ...]
    shapes: tuple[str, ...]
    sizes: tuple[str, ...]
    rooms: tuple[str, ...] = ("living room",)
    hangs: bool = False

    @property
    def name(self) -> str:
        return self.words[0]


COLOURS = (
    Colour(("white", "snow white", "pure white"), (246, 245, 240), 1.6),
    Colour(("black", "jet black"), (30, 30, 32), 1.4),
    Colour(("grey", "gray", "slate grey"), (134, 137, 141), 1.4),
    Colour(("beige", "sand", "ecru"), (217, 196, 156), 1.2),
    Colour(("brown", "chocolate", "chestnut"), (112, 68, 38), 1.2),
    Colour(("red", "crimson", "scarlet"), (198, 28, 36), 1.0),
    Colour(("orange", "tangerine"), (238, 122, 24), 0.8),
    Colour(("yellow", "lemon", "mustard"), (246, 208, 40), 0.9),
    Colour(("green", "emerald", "forest green"), (46, 134, 60), 1.0),
    Colour(("turquoise", "teal", "aqua"), (34, 182, 176), 0.7),
    Colour(("blue", "royal blue", "cobalt"), (44, 104, 212), 1.0),
    Colour(("navy", "midnight blue", "dark blue"), (24, 34, 92), 0.8),
    Colour(("purple", "violet", "plum"), (124, 54, 156), 0.7),
    Colour(("pink", "rose", "blush"), (240, 142, 176), 0.9),
)

PATTERNS: tuple[tuple[str, ...], ...] = (
    ("plain", "solid", "unpatterned"),
    ("striped", "stripy"),
    ("checked", "checkered", "plaid"),
    ("dotted", "polka dot", "spotted"),
    ("floral", "flowery", "flower print"),
    ("zigzag", "chevron"),
    ("geometric", "diamond pattern"),
)
PLAIN = 0
PLAIN_SHARE = 0.34  # of the products that could carry a pattern
PATTERNED_MATERIALS = frozenset({"fabric", "cotton", "linen", "wool", "ceramic", "paper"})

MATERIALS: tuple[tuple[str, ...], ...] = (
    ("wood", "wooden", "timber"),
    ("metal", "steel"),
    ("glass",),
    ("rattan", "wicker"),
    ("fabric", "upholstered"),
    ("velvet",),
    ("leather",),
    ("wool", "woollen"),
    ("cotton",),
    ("linen",),
    ("ceramic", "stoneware"),
    ("marble",),
    ("paper",),
)

SHAPES: tuple[tuple[str, ...], ...] = (
    ("round", "circular"),
    ("square",),
    ("rectangular",),
    ("oval",),
    ("tall",),
    ("low",),
    ("wide",),
    ("narrow", "slim"),
    ("arched",),
    ("hexagonal",),
    ("long",),
    ("short",),
    ("cone-shaped", "conical"),
    ("drum-shaped", "cylindrical"),
    ("two-seat", "2-seater"),
    ("three-seat", "3-seater"),
    ("single",),
    ("double",),
    ("high-back",),
    ("low-back",),
)

_UPHOLSTERY = ("fabric", "velvet", "leather")
_TABLE = ("wood", "metal", "marble", "glass")
_TABLE_SHAPES = ("round", "square", "rectangular", "oval")
_TEXTILE = ("cotton", "linen", "velvet")
_SHADE_SHAPES = ("cone-shaped", "drum-shaped", "round")
_BEDROOM = ("bedroom", "guest room")
_LIVING = ("living room", "hall", "study")

TYPES = (
    ProductType(
        ("sofa", "couch", "settee"), "sit bed furniture", _UPHOLSTERY,
        ("two-seat", "three-seat"), ("160 cm", "190 cm", "220 cm"),
    ),
    ProductType(
        ("armchair", "easy chair", "lounge chair"), "hand rest chair", (*_UPHOLSTERY, "rattan"),
        ("high-back", "low-back"), ("70x75 cm", "80x85 cm", "90x90 cm"),
    ),
    ProductType(
        ("chair", "dining chair", "side chair"), "eat chair seat", ("wood", "metal", "rattan"),
        ("high-back", "low-back"), ("seat height 45 cm", "seat height 48 cm"),
        ("dining room", "kitchen"),
    ),
    ProductType(
        ("stool", "footstool"), "bench child", ("wood", "metal", "fabric"),
        ("round", "square"), ("45 cm", "60 cm", "75 cm"), ("kitchen", "hall"),
    ),
    ProductType(
        ("table", "dining table", "kitchen table"), "eat desk platform", _TABLE,
        _TABLE_SHAPES, ("90x90 cm", "120x80 cm", "160x90 cm", "200x95 cm"),
        ("dining room", "kitchen"),
    ),
    ProductType(
        ("coffee table", "cocktail table"), "tea several", _TABLE,
        _TABLE_SHAPES, ("60x60 cm", "90x55 cm", "110x60 cm"),
    ),
    ProductType(
        ("desk", "writing desk", "workstation"), "study table", ("wood", "metal", "glass"),
        ("narrow", "wide"), ("100x50 cm", "120x60 cm", "140x70 cm"), ("study", "office"),
    ),
    ProductType(
        ("table lamp", "bedside lamp", "desk lamp"), "platform light", ("fabric", "paper", "metal"),
        _SHADE_SHAPES, ("35 cm", "45 cm", "55 cm"), ("bedroom", "study"),
    ),
    ProductType(
        ("floor lamp", "standing lamp"), "ground light", ("fabric", "paper", "metal"),
        _SHADE_SHAPES, ("140 cm", "155 cm", "170 cm"), _LIVING,
    ),
    ProductType(
        ("pendant lamp", "ceiling lamp", "hanging lamp"), "chandelier hang light",
        ("fabric", "paper", "metal", "glass", "rattan"),
        _SHADE_SHAPES, ("diameter 30 cm", "diameter 40 cm", "diameter 55 cm"),
        ("dining room", "hall"), hangs=True,
    ),
    ProductType(
        ("rug", "carpet", "floor mat"), "ground blanket", ("wool", "cotton"),
        ("rectangular", "round", "oval", "narrow"),
        ("80x150 cm", "120x180 cm", "160x230 cm", "200x300 cm"), _LIVING, hangs=True,
    ),
    ProductType(
        ("vase", "flower vase"), "flower bottle", ("ceramic", "glass", "metal"),
        ("tall", "round", "narrow"), ("18 cm", "25 cm", "40 cm"), _LIVING,
    ),
    ProductType(
        ("curtain", "curtains", "drapes"), "window cloth", _TEXTILE,
        ("long", "short"), ("140x160 cm", "140x245 cm", "145x300 cm"),
        ("living room", "bedroom"), hangs=True,
    ),
    ProductType(
        ("cushion", "throw pillow", "scatter cushion"), "hold pillow", (*_TEXTILE, "wool"),
        ("square", "round", "rectangular"), ("40x40 cm", "50x50 cm", "40x60 cm"), hangs=True,
    ),
    ProductType(
        ("bed", "bed frame", "bedstead"), "sleep stand", ("wood", "metal", "fabric"),
        ("single", "double"), ("90x200 cm", "140x200 cm", "160x200 cm", "180x200 cm"), _BEDROOM,
    ),
    ProductType(
        ("wardrobe", "closet", "armoire"), "clothes cupboard", ("wood", "metal", "rattan"),
        ("narrow", "wide"), ("80x200 cm", "120x200 cm", "150x220 cm"), _BEDROOM,
    ),
    ProductType(
        ("bookcase", "bookshelf", "shelving unit"), "book frame", ("wood", "metal"),
        ("tall", "low"), ("80x90 cm", "80x180 cm", "100x200 cm"), _LIVING,
    ),
    ProductType(
        ("chest of drawers", "dresser", "drawer unit"), "bucket cabinet",
        ("wood", "metal", "rattan"),
        ("tall", "wide"), ("60x120 cm", "80x100 cm", "140x80 cm"), _BEDROOM,
    ),
    ProductType(
        ("mirror", "wall mirror", "looking glass"), "reflect glass", ("wood", "metal", "rattan"),
        ("round", "square", "oval", "arched"), ("40x60 cm", "60x60 cm", "50x140 cm"),
        ("hall", "bathroom"), hangs=True,
    ),
    ProductType(
        ("clock", "wall clock"), "time meter", ("wood", "metal", "ceramic"),
        ("round", "square", "hexagonal"), ("25 cm", "32 cm", "45 cm"),
        ("kitchen", "study"), hangs=True,
    ),
    ProductType(
        ("plant pot", "planter", "flowerpot"), "flower basin", ("ceramic", "metal", "rattan"),
        ("round", "square", "tall"), ("12 cm", "18 cm", "32 cm"), ("balcony", "living room"),
    ),
    ProductType(
        ("basket", "storage basket", "hamper"), "receive frame", ("rattan", "cotton"),
        ("round", "square"), ("30x30 cm", "40x40 cm", "45x60 cm"), ("bathroom", "hall"),
    ),
)  # fmt: skip

# Made-up names; each series belongs to one brand.
BRANDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Norvik", ("Aldra", "Bjelke", "Fennel")),
    ("Hallbo", ("Skarna", "Tindra", "Oslavik")),
    ("Casa Lumo", ("Vesperi", "Lunara", "Sorella")),
    ("Merrow & Pike", ("Ashcombe", "Penhallow", "Wexcote")),
    ("Tovahus", ("Hedvika", "Lillmark", "Brisling")),
    ("Maison Orly", ("Clairvent", "Bellerive", "Montrose")),
    ("Kestrel", ("Harrier", "Merlinet", "Windhover")),
    ("Otsuno", ("Hikari", "Kawane", "Sumire")),
    ("Palomar", ("Cordera", "Azulena", "Sierrado")),
    ("Dunmore", ("Glenfaire", "Kilbride", "Strathy")),
    ("Velusto", ("Amarena", "Nocella", "Pistaro")),
    ("Grindal", ("Fjordane", "Kvarnby", "Solvang")),
    ("Habitari", ("Mokuti", "Zanele", "Tamarix")),
    ("Orchard Row", ("Pippin", "Bramley", "Russet")),
    ("Lindqvist", ("Vargon", "Ekeby", "Mossebo")),
    ("Studio Ferro", ("Officina", "Brunito", "Tornio")),
)
SERIES: tuple[tuple[str, str], ...] = tuple(
    (series, brand) for brand, all_series in BRANDS for series in all_series
)

MATERIAL_CODE = {words[0]: code for code, words in enumerate(MATERIALS)}
SHAPE_CODE = {words[0]: code for code, words in enumerate(SHAPES)}
