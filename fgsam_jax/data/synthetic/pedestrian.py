"""Draws an articulated pedestrian whose joints, parts and attributes are known.

The skeleton of `person` is turned by `yaw` (0 faces the camera, so that the left arm
shows on the picture's right; +90 degrees walks to the picture's right), projected without
perspective and painted far parts first. Points in the picture are complex numbers: x to the right
plus i times y downward, in pixels of the canvas.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from fgsam_jax.data.synthetic.body import Point3, Pose, body_points
from fgsam_jax.data.synthetic.person import Colour, Person
from fgsam_jax.labels.skeleton import JOINTS

# Parts in the map beside a picture; a code is 32 * slot + part. People have the slots 1 to 7; slot
# 0 is the rest of the picture.
(
    HEAD, HAIR, NECK, TORSO, SKIRT, BACKPACK, BAG, HANDBAG,
    RIGHT_UPPER_ARM, RIGHT_LOWER_ARM, LEFT_UPPER_ARM, LEFT_LOWER_ARM,
    RIGHT_UPPER_LEG, RIGHT_LOWER_LEG, LEFT_UPPER_LEG, LEFT_LOWER_LEG,
) = range(1, 17)  # fmt: skip
OBSTACLE = 31

_TRUNK = {NECK, TORSO}
# A joint can be seen where its pixel is covered by one of these parts of its own person.
_OWNERS: tuple[set[int], ...] = (
    {HEAD}, _TRUNK | {HEAD},
    _TRUNK | {RIGHT_UPPER_ARM}, {RIGHT_UPPER_ARM, RIGHT_LOWER_ARM}, {RIGHT_LOWER_ARM},
    _TRUNK | {LEFT_UPPER_ARM}, {LEFT_UPPER_ARM, LEFT_LOWER_ARM}, {LEFT_LOWER_ARM},
    {TORSO, SKIRT, RIGHT_UPPER_LEG}, {RIGHT_UPPER_LEG, RIGHT_LOWER_LEG, SKIRT}, {RIGHT_LOWER_LEG},
    {TORSO, SKIRT, LEFT_UPPER_LEG}, {LEFT_UPPER_LEG, LEFT_LOWER_LEG, SKIRT}, {LEFT_LOWER_LEG},
    {HEAD}, {HEAD}, {HEAD}, {HEAD},
)  # fmt: skip
# Shared parts cover both shoulders and both hips; one this far behind the body's middle is hidden.
_BEHIND = -0.055

_ARC = [complex(math.cos(t), math.sin(t)) for t in np.linspace(-math.pi / 2, math.pi / 2, 6)]
_CIRCLE = [complex(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 18)[:-1]]


@dataclass(frozen=True)
class Figure:
    """A drawn person: joints [18, 2] in canvas pixels and how far in front of the body they lie."""

    slot: int
    joints: np.ndarray
    near: np.ndarray


@dataclass
class View:
    """Where the body stands in the picture: `foot` is the ground below its middle, in pixels."""

    yaw: float
    pitch: float
    scale: float  # pixels of one body height
    foot: complex
    ground: float = 0.0  # the lowest point of the body, in body heights

    def near(self, point: Point3) -> float:
        """How far in front of the body's middle a point lies, toward the camera."""
        return point[2] * math.cos(self.yaw) - point[0] * math.sin(self.yaw)

    def __call__(self, point: Point3) -> complex:
        across = point[0] * math.cos(self.yaw) + point[2] * math.sin(self.yaw)
        down = self.near(point) * math.sin(self.pitch) - (point[1] - self.ground) * math.cos(
            self.pitch
        )
        return self.foot + self.scale * complex(across, down)


@dataclass
class Canvas:
    """A picture and, beside it, a map of which part of which person covers each pixel."""

    image: Image.Image
    light: complex = -0.6 - 0.6j
    parts: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        self.parts = Image.new("L", self.image.size)
        self._paint, self._mark = ImageDraw.Draw(self.image), ImageDraw.Draw(self.parts)

    def polygon(self, points: Sequence[complex], colour: Colour, code: int | None = None) -> None:
        """Fills a polygon; without a code the map keeps what it has."""
        corners = [(point.real, point.imag) for point in points]
        self._paint.polygon(corners, fill=colour)
        if code is not None:
            self._mark.polygon(corners, fill=code)

    def limb(
        self,
        start: complex,
        end: complex,
        radii: tuple[float, float],
        colour: Colour,
        code: int | None,
    ) -> None:
        """A tapered limb with round ends, lit from the canvas's light."""
        along = end - start
        along = along / abs(along) if abs(along) > 1e-6 else 1j
        for share, tone in ((1.0, 0.83), (0.7, 1.0)):
            shift = self.light * (1 - share) * 0.6
            one, two = radii[0] * share, radii[1] * share
            first, last = start + shift * radii[0], end + shift * radii[1]
            outline = [last + two * along * arc for arc in _ARC]
            outline += [first - one * along * arc for arc in _ARC]
            self.polygon(outline, tone_of(colour, tone), code if share == 1 else None)

    def ellipse(
        self, centre: complex, rx: float, ry: float, colour: Colour, code: int | None = None
    ) -> None:
        self.polygon([centre + complex(rx * c.real, ry * c.imag) for c in _CIRCLE], colour, code)


def tone_of(colour: Colour, factor: float) -> Colour:
    """The colour, lighter or darker by a factor."""
    return tuple(min(255, int(value * factor)) for value in colour)  # type: ignore[return-value]


class _Trunk:
    """The torso's outline: a stack of ellipses; `at(u, v)` is a point of its surface.

    u runs from -1 (picture left) to 1, v from 0 at the neck to 1 at the hem.
    """

    def __init__(self, person: Person, pose: Pose, view: View) -> None:
        waist = 0.88 if person.female else 1.0
        wide = 0.094 if person.female else 0.106
        girth = person.girth
        stations = (
            (0.835, 0.035, 0.035), (0.815, wide * 0.86, 0.045), (0.79, wide * 0.98, 0.055),
            (0.72, 0.092, 0.066), (0.62, 0.084 * waist, 0.060), (0.54, 0.090, 0.066),
            (0.475, 0.093, 0.068),
        )  # fmt: skip
        turn = view.yaw
        self.heights = np.array([s[0] for s in stations])
        self.half = [
            view.scale * (0.4 + 0.6 * girth) * math.hypot(a * math.cos(turn), b * math.sin(turn))
            for _, a, b in stations
        ]
        self.middle = [view((0, y, pose.lean * (y - 0.5))) for y, _, _ in stations]
        self.turn = turn

    def at(self, u: float, v: float) -> complex:
        position = min(max(v, 0.0), 1.0) * (len(self.middle) - 1)
        index = min(int(position), len(self.middle) - 2)
        rest = position - index
        middle = self.middle[index] * (1 - rest) + self.middle[index + 1] * rest
        return middle + u * (self.half[index] * (1 - rest) + self.half[index + 1] * rest)

    def outline(self) -> list[complex]:
        left = [m - h for m, h in zip(self.middle, self.half, strict=True)]
        right = [m + h for m, h in zip(self.middle, self.half, strict=True)]
        return left + right[::-1]

    def band(self, top: float, bottom: float, u0: float = -1.0, u1: float = 1.0) -> list[complex]:
        steps = [top + (bottom - top) * k / 4 for k in range(5)]
        return [self.at(u0, v) for v in steps] + [self.at(u1, v) for v in reversed(steps)]

    def panel(self, first: float, last: float, top: float, bottom: float) -> list[complex] | None:
        """The seen piece between two angles around the body (0 is the front, + to the left)."""
        middle = first + self.turn + (last - first) / 2
        middle = (middle + math.pi) % (2 * math.pi) - math.pi
        low, high = middle - (last - first) / 2, middle + (last - first) / 2
        low, high = max(low, -math.pi / 2), min(high, math.pi / 2)
        if low >= high:
            return None
        return self.band(top, bottom, math.sin(low), math.sin(high))


def _paint_trunk(canvas: Canvas, person: Person, trunk: _Trunk, code: int) -> None:
    canvas.polygon(trunk.outline(), tone_of(person.upper, 0.82), code + TORSO)
    lit = 0.25 * (1 if canvas.light.real > 0 else -1)
    canvas.polygon(trunk.band(0.04, 0.97, -0.72 + lit, 0.72 + lit), person.upper)
    size = person.pattern_size
    if person.pattern == "stripes":
        step = 0.13 * size
        for k in range(1, int(1 / step) + 1):
            canvas.polygon(trunk.band(k * step, k * step + 0.45 * step), person.accent)
    elif person.pattern in ("bars", "checks"):
        count = int(14 / size)
        for k in range(count):
            angle = 2 * math.pi * k / count
            piece = trunk.panel(angle, angle + 2.4 / count, 0.06, 0.99)
            if piece:
                canvas.polygon(piece, person.accent)
        if person.pattern == "checks":
            step = 0.16 * size
            mixed = tone_of(person.accent, 0.75)
            for k in range(1, int(1 / step) + 1):
                canvas.polygon(trunk.band(k * step, k * step + 0.3 * step), mixed)
    elif person.pattern == "two_tone":
        split = 0.28 + 0.3 * (size - 0.7) / 0.8
        ends = (0.0, split) if person.print_shape % 2 else (split + 0.2, 1.0)
        canvas.polygon(trunk.band(*ends), person.accent)
    elif person.pattern == "open":
        piece = trunk.panel(-0.42 * size, 0.42 * size, 0.0, 1.0)
        if piece:
            canvas.polygon(piece, person.accent)
    elif person.pattern == "print":
        _paint_print(canvas, person, trunk)


def _paint_print(canvas: Canvas, person: Person, trunk: _Trunk) -> None:
    # The same print on the chest, and a smaller one on the back for half of the shapes.
    places = [(0.0, 1.0)] + ([(math.pi, 0.7)] if person.print_shape % 2 else [])
    for angle, grow in places:
        wide = 0.55 * person.pattern_size * grow
        tall = 0.16 * person.pattern_size * grow
        if person.print_shape < 2:
            pieces = [(-wide, wide, 0.42 - tall, 0.42 + tall)]
        else:
            pieces = [
                (-wide, wide, 0.42 - tall, 0.42 - 0.3 * tall),
                (-0.4 * wide, 0.4 * wide, 0.42 - 0.3 * tall, 0.42 + tall),
            ]
        for low, high, top, bottom in pieces:
            piece = trunk.panel(angle + low, angle + high, top, bottom)
            if piece:
                canvas.polygon(piece, person.accent)


def _paint_arm(
    canvas: Canvas, person: Person, points: list[complex], scale: float, code: int, right: bool
) -> None:
    upper, lower = (RIGHT_UPPER_ARM, RIGHT_LOWER_ARM) if right else (LEFT_UPPER_ARM, LEFT_LOWER_ARM)
    shoulder, elbow, wrist, hand = points
    thick = scale * (0.3 + 0.7 * person.girth)
    sleeve = person.accent if person.sleeves_accent else person.upper
    canvas.limb(wrist, hand, (0.016 * thick, 0.013 * thick), person.skin, code + lower)
    colour = sleeve if person.long_sleeves else person.skin
    canvas.limb(elbow, wrist, (0.024 * thick, 0.018 * thick), colour, code + lower)
    canvas.limb(shoulder, elbow, (0.029 * thick, 0.025 * thick), colour, code + upper)
    if not person.long_sleeves:
        end = shoulder + (elbow - shoulder) * (0.35 + 0.5 * person.hem)
        canvas.limb(shoulder, end, (0.034 * thick, 0.034 * thick), sleeve, code + upper)
    if person.pattern == "stripes" and not person.sleeves_accent:
        for share in (0.2, 0.5):
            middle = shoulder + (elbow - shoulder) * share
            canvas.ellipse(middle, 0.03 * thick, 0.012 * thick, person.accent)


def _paint_leg(
    canvas: Canvas, person: Person, points: list[complex], scale: float, code: int, right: bool
) -> None:
    upper, lower = (RIGHT_UPPER_LEG, RIGHT_LOWER_LEG) if right else (LEFT_UPPER_LEG, LEFT_LOWER_LEG)
    hip, knee, ankle, toe, heel = points
    thick = scale * (0.3 + 0.7 * person.girth)
    bare = (46, 42, 46) if person.dress and person.tights else person.skin
    trousers = not person.dress
    thigh = person.lower if trousers else bare
    shin = person.lower if trousers and person.long_lower else bare
    wide = 1.15 if trousers and person.long_lower and person.hem > 0.5 else 1.0
    canvas.limb(knee, ankle, (0.036 * thick, 0.024 * thick * wide**2), shin, code + lower)
    if shin == bare and person.socks:
        canvas.limb(
            knee + 0.72 * (ankle - knee), ankle, (0.026 * thick, 0.024 * thick), person.accent, None
        )
    canvas.limb(heel, toe, (0.022 * thick, 0.018 * thick), person.shoes, code + lower)
    canvas.limb(hip, knee, (0.058 * thick, 0.039 * thick), thigh, code + upper)
    if trousers and not person.long_lower:
        if person.hem > 0.6:
            end = knee + (ankle - knee) * (person.hem - 0.5)
            canvas.limb(knee, end, (0.042 * thick, 0.042 * thick), thigh, code + lower)
        elif person.hem < 0.3:
            start = hip + (knee - hip) * (0.7 + person.hem)
            canvas.limb(start, knee, (0.044 * thick, 0.038 * thick), bare, code + upper)
    if trousers and person.side_stripe:
        side = 0.022 * thick * (1 if canvas.light.real < 0 else -1)
        canvas.limb(hip + side, knee + side, (0.009 * thick, 0.008 * thick), person.accent, None)
        if person.long_lower:
            canvas.limb(
                knee + side, ankle + side, (0.008 * thick, 0.007 * thick), person.accent, None
            )


def _paint_skirt(
    canvas: Canvas, person: Person, at: dict[str, complex], trunk: _Trunk, scale: float, code: int
) -> None:
    share = 0.5 + 0.35 * person.hem  # of the thigh
    hems = [at[f"{s}_hip"] + (at[f"{s}_knee"] - at[f"{s}_hip"]) * share for s in ("right", "left")]
    if person.long_lower:
        hems = [
            at[f"{s}_knee"] + (at[f"{s}_ankle"] - at[f"{s}_knee"]) * (0.4 + 0.4 * person.hem)
            for s in ("right", "left")
        ]
    margin = scale * (0.05 + 0.03 * person.pattern_size)
    low = max(hem.imag for hem in hems)
    left, right = min(hem.real for hem in hems) - margin, max(hem.real for hem in hems) + margin
    top = 0.72
    outline = [
        trunk.at(-1, top),
        trunk.at(-1.05, 1),
        complex(left, low),
        complex(right, low),
        trunk.at(1.05, 1),
        trunk.at(1, top),
    ]
    canvas.polygon(outline, tone_of(person.lower, 0.82), code + SKIRT)
    inner = [0.7 * point + 0.3 * sum(outline) / len(outline) for point in outline]
    canvas.polygon(inner, person.lower)
    if person.side_stripe:
        rise = 0.03 * scale * 1j
        canvas.polygon(
            [outline[2] - rise, outline[3] - rise, outline[3], outline[2]], person.accent
        )


def _paint_head(
    canvas: Canvas, person: Person, at: dict[str, complex], yaw: float, scale: float, code: int
) -> None:
    centre = at["head"]
    front, side = math.cos(yaw), math.sin(yaw)
    rx, ry = 0.05 * scale, 0.07 * scale
    canvas.ellipse(
        centre - side * 0.2 * rx - 0.012j * scale, 1.08 * rx, 0.98 * ry, person.hair, code + HAIR
    )
    if front > -0.55:
        width = rx * (0.62 + 0.32 * max(0.0, front))
        face = centre + side * 0.34 * rx + 0.012j * scale
        canvas.ellipse(face, width, 0.86 * ry, tone_of(person.skin, 0.86), code + HEAD)
        canvas.ellipse(face + canvas.light * 0.12 * rx, 0.8 * width, 0.76 * ry, person.skin)
        if abs(side) > 0.5:
            canvas.ellipse(at["nose"], 0.2 * rx, 0.14 * ry, person.skin, code + HEAD)
        for eye in ("right_eye", "left_eye"):
            if abs(at[eye] - face) < width:
                canvas.ellipse(at[eye], 0.011 * scale, 0.008 * scale, (40, 30, 30))
        mouth = 0.6 * at["nose"] + 0.4 * face + 0.03j * scale
        if front > 0.2:
            canvas.ellipse(mouth, 0.014 * scale, 0.005 * scale, tone_of(person.skin, 0.6))
        fringe = [face + complex(width * c.real, -0.62 * ry + 0.36 * ry * c.imag) for c in _CIRCLE]
        canvas.polygon(fringe, person.hair, code + HAIR)
    for ear, sign in (("right_ear", -1), ("left_ear", 1)):
        if -sign * side > -0.35 and not person.long_hair:
            canvas.ellipse(
                at[ear], 0.011 * scale, 0.017 * scale, tone_of(person.skin, 0.8), code + HEAD
            )
    if person.hat:
        brim = centre + side * 0.6 * rx - 0.035j * scale
        dome = [
            centre + complex(1.12 * rx * c.real, -0.033 * scale + 0.7 * ry * min(c.imag, 0.1))
            for c in _CIRCLE
        ]
        canvas.polygon(dome, person.hat_colour, code + HAIR)
        if front > -0.4:
            canvas.ellipse(
                brim, rx * 1.15, 0.012 * scale, tone_of(person.hat_colour, 0.7), code + HAIR
            )


def _paint_long_hair(
    canvas: Canvas, person: Person, at: dict[str, complex], yaw: float, scale: float, code: int
) -> None:
    back = at["head"] - 0.03 * scale * math.sin(yaw)
    if person.ponytail:
        root = back - 0.025 * scale * math.sin(yaw)
        canvas.limb(
            root,
            root + 0.13j * scale - 0.02 * scale * math.sin(yaw),
            (0.022 * scale, 0.012 * scale),
            person.hair,
            code + HAIR,
        )
    else:
        wide = 0.05 * scale
        canvas.limb(back, back + 0.115j * scale, (wide, 0.95 * wide), person.hair, code + HAIR)


def _box(
    canvas: Canvas, view: View, centre: Point3, half: Point3, colour: Colour, code: int
) -> None:
    middle = view(centre)
    wide = view.scale * math.hypot(half[0] * math.cos(view.yaw), half[2] * math.sin(view.yaw))
    tall = view.scale * half[1]
    cut = 0.25 * min(wide, tall)
    for share, tone, mark in ((1.0, 0.75, code), (0.8, 1.0, None)):
        w, t = wide * share, tall * share
        corner = [
            complex(w - cut, -t),
            complex(w, cut - t),
            complex(w, t - cut),
            complex(w - cut, t),
        ]
        outline = corner + [-c for c in corner]
        canvas.polygon([middle + c for c in outline], tone_of(colour, tone), mark)


def _paint_backpack(canvas: Canvas, person: Person, view: View, code: int) -> None:
    _box(
        canvas,
        view,
        (0, 0.685, -0.11),
        (0.078, 0.115, 0.06),
        person.backpack_colour,
        code + BACKPACK,
    )
    if math.cos(view.yaw) < 0.3:
        pocket = tone_of(person.backpack_colour, 1.35)
        _box(canvas, view, (0, 0.635, -0.13), (0.05, 0.04, 0.05), pocket, code + BACKPACK)


def _paint_bag(canvas: Canvas, person: Person, view: View, code: int) -> None:
    _box(
        canvas,
        view,
        (person.bag_side * 0.12, 0.49, -0.02),
        (0.03, 0.058, 0.085),
        person.bag_colour,
        code + BAG,
    )


def _paint_straps(canvas: Canvas, person: Person, trunk: _Trunk, scale: float) -> None:
    if person.backpack:
        for angle in (-0.75, 0.75):
            piece = trunk.panel(angle - 0.14, angle + 0.14, 0.1, 0.62)
            if piece:
                canvas.polygon(piece, person.backpack_colour)
    if person.bag:
        front = math.cos(trunk.turn)
        reach = math.sin(trunk.turn + person.bag_side * 1.3)
        start = trunk.at(-0.65 * person.bag_side * front, 0.12)
        canvas.limb(
            start,
            trunk.at(0.95 * reach, 0.95),
            (0.011 * scale, 0.011 * scale),
            person.bag_colour,
            None,
        )


def draw(
    canvas: Canvas,
    person: Person,
    pose: Pose,
    *,
    scale: float,
    foot: complex,
    pitch: float = 0.0,
    slot: int = 1,
) -> Figure:
    """Paints a pedestrian on the canvas and tells where its joints are.

    Args:
      canvas: what is painted on; its map of parts gets the codes 32 * slot + part.
      scale: height of a person of mean height in canvas pixels.
      foot: point of the ground below the body's middle, in canvas pixels.
      pitch: how far the camera looks down, in radians.
      slot: number of the person on this canvas, 1 to 7.
    """
    body = body_points(person, pose)
    ground = min(
        body["right_heel"][1], body["left_heel"][1], body["right_toe"][1], body["left_toe"][1]
    )
    view = View(pose.yaw, pitch, scale * person.height, foot, ground - 0.02)
    at = {name: view(point) for name, point in body.items()}
    near = {name: view.near(point) for name, point in body.items()}
    size, code = view.scale, 32 * slot
    trunk = _Trunk(person, pose, view)
    layers: list[tuple[float, int, Callable[..., None], tuple]] = []

    def add(depth: float, paint: Callable[..., None], *arguments: object) -> None:
        layers.append((depth, len(layers), paint, arguments))

    for right, side in ((True, "right"), (False, "left")):
        leg = [at[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "toe", "heel")]
        add(
            -1 + near[f"{side}_hip"] + 0.2 * near[f"{side}_ankle"],
            _paint_leg,
            canvas,
            person,
            leg,
            size,
            code,
            right,
        )
        arm = [at[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand")]
        depth = 0.5 * near[f"{side}_shoulder"] + 0.5 * near[f"{side}_wrist"]
        add(depth, _paint_arm, canvas, person, arm, size, code, right)
        if person.handbag and (person.bag_side > 0) == right:
            x, y, z = body[f"{side}_hand"]
            add(
                depth + 0.01,
                _box,
                canvas,
                view,
                (x, y - 0.07, z),
                (0.03, 0.06, 0.065),
                person.handbag_colour,
                code + HANDBAG,
            )
    if person.dress:
        add(-0.015, _paint_skirt, canvas, person, at, trunk, size, code)
    add(
        -0.02,
        canvas.limb,
        at["head"],
        at["neck"],
        (0.026 * size, 0.032 * size),
        tone_of(person.skin, 0.9),
        code + NECK,
    )
    add(-0.01, _paint_trunk, canvas, person, trunk, code)
    if person.backpack or person.bag:
        add(0.0, _paint_straps, canvas, person, trunk, size)
    if person.backpack:
        add(-0.12 * math.cos(pose.yaw), _paint_backpack, canvas, person, view, code)
    if person.bag:
        add(-0.12 * person.bag_side * math.sin(pose.yaw), _paint_bag, canvas, person, view, code)
    if person.long_hair:
        add(
            -0.1 * math.cos(pose.head_yaw),
            _paint_long_hair,
            canvas,
            person,
            at,
            pose.head_yaw,
            size,
            code,
        )
    add(0.06, _paint_head, canvas, person, at, pose.head_yaw, size, code)
    for _, _, paint, arguments in sorted(layers, key=lambda layer: layer[:2]):
        paint(*arguments)
    joints = np.array([(at[name].real, at[name].imag) for name in JOINTS])
    return Figure(slot, joints, np.array([near[name] for name in JOINTS]))


def visibility(canvas: Canvas, figure: Figure) -> np.ndarray:
    """COCO's flag of each joint once all is painted: 0 outside, 1 hidden, 2 seen. int [18]."""
    width, height = canvas.image.size
    flags = np.zeros(len(JOINTS), int)
    codes = np.asarray(canvas.parts)
    for joint, ((x, y), near) in enumerate(zip(figure.joints, figure.near, strict=True)):
        if not (0 <= x < width and 0 <= y < height):
            continue
        slot, part = divmod(int(codes[int(y), int(x)]), 32)
        seen = slot == figure.slot and part in _OWNERS[joint] and near > _BEHIND
        flags[joint] = 2 if seen else 1
    return flags
