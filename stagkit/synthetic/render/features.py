"""Skin of a phantom: a relief lit from one soft direction, texture, lips, nose, lids, lashes, brows, beard."""

from __future__ import annotations

import numpy as np

from stagkit.synthetic.identity import BROWS, EYES, Subject
from stagkit.synthetic.render.canvas import Canvas, curve, mix, points, smooth_step


def find_lids(face: np.ndarray, eye: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the upper and lower lid from the outer to the inner corner: float "48 2" each."""
    return curve(face[list(eye[:4])], 48), curve(face[[eye[0], eye[5], eye[4], eye[3]]], 48)


def make_relief(canvas: Canvas, subject: Subject, lips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Height of the face towards the viewer: float32 "Y X", IOD."""
    face, look, x, y = subject.face, subject.look, canvas.x, canvas.y
    chin = face[8, 1]
    half = np.interp(y[:, 0], face[:9, 1], (face[16:7:-1, 0] - face[:9, 0]) / 2, left=np.abs(face[0, 0]))
    half = np.maximum(half, 0.5)[:, None] * 1.05
    vertical = np.clip(1 - np.abs((y - 0.25) / (chin + 0.12 - 0.25)) ** 3.2, 0, 1) ** 0.5
    z = 0.72 * np.clip(1 - np.abs(x / half) ** 2.2, 0, 1) ** 0.62 * (0.35 + 0.65 * vertical)
    z = canvas.blur(z.astype(np.float32), 0.03)

    bridge, tip, base = face[27], face[30], face[33]
    nose, wide = look["nose"], face[35, 0] - face[31, 0]
    along = (y - bridge[1]) / (tip[1] - bridge[1])
    ridge = 0.03 + 0.13 * np.clip(along, 0, 1) ** 1.2
    ridge = ridge * smooth_step(-0.5, 0.2, along) * smooth_step(base[1] + 0.07, tip[1] - 0.01, y)
    z = z + nose * ridge * np.exp(-0.5 * (x / (0.048 + 0.10 * wide * np.clip(along, 0, 1))) ** 2)
    z += nose * 0.06 * canvas.blob(tip[0], tip[1] + 0.015, 0.20 * wide, 0.055)
    for side in (31, 35):
        out = np.sign(face[side, 0])
        wing = face[side] - (out * 0.012, 0.045)
        z += 0.06 * canvas.blob(*wing, 0.042, 0.046)
        z -= 0.040 * canvas.blob(wing[0] + out * 0.062, wing[1] + 0.01, 0.020, 0.05)  # crease beside the wing
    for eye, brow in zip(EYES, BROWS, strict=True):
        centre, out = face[list(eye)].mean(0), np.sign(face[eye[0], 0])
        z -= 0.075 * canvas.blob(centre[0] - out * 0.03, centre[1] - 0.035, 0.17, 0.08)
        z += 0.06 * canvas.blob(*centre, 0.11, 0.075)  # the eyeball under the lids
        z -= (0.006 + 0.016 * look["age"]) * canvas.blob(centre[0] - out * 0.02, centre[1] + 0.13, 0.12, 0.025)
        for place in face[list(brow)][1:]:
            z += (0.022 + 0.016 * look["masculine"]) * canvas.blob(*place, 0.12, 0.05)
        z += 0.05 * look["cheek"] * canvas.blob(out * 0.44, tip[1] - 0.06, 0.17, 0.14)
        z -= 0.03 * (look["cheek"] - 0.5) * canvas.blob(out * 0.46, face[57, 1] - 0.06, 0.12, 0.18)
        corner, wing = face[48 if out < 0 else 54], face[31 if out < 0 else 35]
        fold = curve(np.array([wing + (out * 0.05, -0.05), corner + (out * 0.10, -0.12), corner + (out * 0.11, 0.03)]))
        z -= (0.004 + 0.022 * look["age"]) * canvas.line(fold, 0.03, 0.022)
        z -= 0.02 * canvas.blob(corner[0] + out * 0.025, corner[1], 0.035, 0.035)
    for height in (0.42, 0.53, 0.64):  # lines of the forehead
        line = points("-.34 .03  -.15 -.01  0 .01  .15 -.01  .34 .03") * (1, canvas.rng.uniform(0.4, 1.4)) - (0, height)
        z -= 0.010 * max(0.0, look["age"] - 0.45) * canvas.line(curve(line), 0.012, 0.014)
    upper, lower = lips
    z += 0.035 * canvas.blur(upper, 0.022) + 0.055 * canvas.blur(lower, 0.03)
    mouth = face[57]
    z -= 0.012 * canvas.blob(0, (base[1] + face[51, 1]) / 2, 0.022, 0.05)  # philtrum
    z -= 0.035 * canvas.blob(0, mouth[1] + 0.07, 0.14, 0.035)
    z += 0.055 * canvas.blob(0, (mouth[1] + chin) / 2 + 0.08, 0.15, 0.1)
    return z.astype(np.float32)


def make_texture(canvas: Canvas) -> np.ndarray:
    """Texture of the skin at every scale, about N(0, 1) "Y X"; optical flow depends on it."""
    weights = {0.20: 0.35, 0.10: 0.45, 0.055: 0.65, 0.032: 0.85, 0.018: 0.75}
    return sum(weight * canvas.noise(period) for period, weight in weights.items()) / 1.42


def paint_skin(canvas: Canvas, subject: Subject) -> np.ndarray:
    """Lit skin with all features, over the whole canvas: float32 "Y X 3" RGB."""
    face, look = subject.face, subject.look
    upper, lower = _find_lips(canvas, face)
    z = make_relief(canvas, subject, (upper, lower))
    texture = make_texture(canvas)
    colour = _paint_complexion(canvas, subject, texture)
    if look["stubble"] or look["beard"]:
        colour = _paint_beard(canvas, colour, subject, upper + lower)
    stripes, lip = canvas.noise(0.018, 4.0), look["lips"].astype(np.float32)
    colour = mix(colour, lip * 0.86, upper * 0.88) + (upper * stripes * 3.0)[..., None]
    colour = mix(colour, lip, lower * 0.84) + (lower * stripes * 3.5)[..., None]

    grad_y, grad_x = np.gradient(canvas.blur(z, 0.009) + np.float32(0.0008) * texture, 1 / canvas.k)
    light = look["light"] / np.linalg.norm(look["light"])
    length = np.sqrt(1 + grad_x**2 + grad_y**2)
    facing = (-grad_x * light[0] - grad_y * light[1] + light[2]) / length
    shade = 0.40 + 0.62 * np.clip(0.25 + 0.75 * facing, 0, 1.2)
    shade -= 0.8 * np.clip(canvas.blur(z, 0.09) - z, -0.03, 0.10)  # hollows get less of the sky
    shade *= 1 - 0.22 * canvas.blob(0, face[33, 1] + 0.05, 0.11, 0.035)  # shadow below the nose
    shade *= 1 - 0.16 * canvas.blob(0, face[57, 1] + 0.045, 0.13, 0.03)  # and below the lip
    shade = np.clip(shade, 0.16, 1.3)
    lit = colour * np.stack([shade**p for p in (0.90, 1.06, 1.16)], -1)  # shadows on skin are warm
    middle = (light + (0, 0, 1)) / np.linalg.norm(light + (0, 0, 1))
    gloss = np.clip((-grad_x * middle[0] - grad_y * middle[1] + middle[2]) / length, 0, 1) ** 42
    gloss *= 0.35 + 0.65 * np.clip(canvas.blob(0, 0.30, 0.09, 0.24) + canvas.blob(0, -0.5, 0.34, 0.16), 0, 1)
    lit += (gloss * (12 + 16 * (1 - look["skin"].mean() / 255)) * (0.75 + 0.25 * np.clip(texture, -1, 1)))[..., None]
    lit = _paint_nose_and_mouth(canvas, lit.astype(np.float32), subject)
    for eye, brow in zip(EYES, BROWS, strict=True):
        lit = _paint_lids(canvas, lit, subject, eye)
        lit = _paint_brow(canvas, lit, subject, face[list(brow)])
    return lit


def _find_lips(canvas: Canvas, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the upper and the lower lip."""
    outer, inner = face[48:60], face[60:68]
    above = np.concatenate([curve(outer[:7]), curve(inner[4::-1])])
    under = [curve(np.concatenate([outer[6:], outer[:1]])), curve(np.concatenate([inner[:1], inner[:3:-1]]))]
    return canvas.fill(above, 0.007), canvas.fill(np.concatenate(under), 0.009)


def _paint_complexion(canvas: Canvas, subject: Subject, texture: np.ndarray) -> np.ndarray:
    """Colour of the skin without light: blush, dark circles, freckles, moles, pores."""
    face, look = subject.face, subject.look
    skin = look["skin"].astype(np.float32)
    colour = np.broadcast_to(skin, (canvas.n, canvas.n, 3)).copy()
    red = skin * (0.98, 0.81, 0.79)
    for out, lid in ((-1, 41), (1, 46)):
        colour = mix(colour, red, 0.60 * look["blush"] * canvas.blob(out * 0.47, 0.4, 0.16, 0.13))
        x, y = face[lid] + (-out * 0.05, 0.055)
        rings = (0.15 + 0.4 * look["age"]) * canvas.blob(x, y, 0.11, 0.032, out * 0.15)
        colour = mix(colour, skin * (0.80, 0.74, 0.76), rings)
        colour = mix(colour, skin * (0.86, 0.74, 0.70), 0.5 * canvas.blob(x, y - 0.16, 0.13, 0.035))
    colour = mix(colour, red, 0.5 * look["blush"] * canvas.blob(*face[30], 0.09, 0.09))
    colour = mix(colour, red, 0.25 * canvas.blob(0, face[8, 1] - 0.1, 0.16, 0.09))
    colour *= (1 + 0.027 * texture)[..., None]
    colour[..., 0] *= 1 + 0.010 * canvas.noise(0.07)
    where = np.clip(canvas.blob(0, 0.26, 0.45, 0.16) + 0.12, 0, 1)
    spots = canvas.blur(smooth_step(1.7, 2.1, canvas.noise(0.024)), 0.005) * where
    colour = mix(colour, skin * (0.74, 0.58, 0.46), np.clip(1.3 * look["freckles"] * spots, 0, 0.8))
    for x, y in canvas.rng.uniform((-0.6, -0.1), (0.6, 1.0), (look["moles"], 2)):
        colour = mix(colour, skin * (0.38, 0.28, 0.25), 0.85 * np.clip(1.6 * canvas.blob(x, y, 0.010, 0.010), 0, 1))
    pores = smooth_step(1.2, 2.2, canvas.noise(0.015)) * (0.4 + canvas.blob(0, 0.3, 0.35, 0.25))
    return (colour * (1 - 0.06 * pores)[..., None]).astype(np.float32)


def _paint_beard(canvas: Canvas, colour: np.ndarray, subject: Subject, lips: np.ndarray) -> np.ndarray:
    """A shaved or grown beard."""
    face, look = subject.face, subject.look
    rim = points(".70 .42  .50 .60  .30 .66  .14 .575  0 .60  -.14 .575  -.30 .66  -.50 .60  -.70 .42")
    rim[:, 1] += face[33, 1] - 0.545
    area = canvas.fill(np.concatenate([curve(face[2:15], 60), curve(rim)]), 0.045)
    area = np.clip(area - 1.5 * canvas.blur(np.clip(lips, 0, 1), 0.008), 0, 1)
    area *= 1 - 0.6 * canvas.blob(0, face[57, 1] + 0.02, 0.2, 0.02)
    grain = smooth_step(-0.3, 1.5, canvas.noise(0.0075, 2.2))
    tint = 0.45 * look["brow"] + 0.55 * look["skin"] * (0.62, 0.62, 0.68)
    colour = mix(colour, tint, area * (0.34 * look["stubble"] + 0.55 * look["beard"]))
    return mix(colour, look["brow"], area * (0.25 * look["stubble"] + 0.75 * look["beard"]) * grain)


def _paint_nose_and_mouth(canvas: Canvas, image: np.ndarray, subject: Subject) -> np.ndarray:
    """Nostrils, nasolabial creases, seam of the lips."""
    face, look = subject.face, subject.look
    dark = look["skin"] * (0.34, 0.22, 0.20)
    for side, inner in ((31, 32), (35, 34)):
        out = np.sign(face[side, 0])
        x, y = face[side] * 0.36 + face[inner] * 0.64 - (0, 0.016)
        hole = np.clip(1.9 * canvas.blob(x, y, 0.027, 0.0115, -out * 0.30) - 0.12, 0, 1)
        image = mix(image, dark * 0.62, 0.90 * hole)
        wing = face[side] + points(".006 -.10  .036 -.055  .030 -.012  -.012 .010") * (out, 1)
        image = mix(image, dark, 0.32 * canvas.line(curve(wing), 0.010, 0.009))
    seam = np.stack([face[[48, 60, 61, 62, 63, 64, 54]], face[[48, 60, 67, 66, 65, 64, 54]]]).mean(0)
    image = mix(image, dark * (0.9, 0.75, 0.75), 0.88 * canvas.line(curve(seam), 0.012, 0.006))
    image = mix(image, dark, 0.28 * canvas.line(curve(seam), 0.03, 0.014))
    for corner in (48, 54):
        image = mix(image, dark, 0.40 * canvas.blob(*face[corner], 0.02, 0.013))
    return image


def _paint_lids(canvas: Canvas, image: np.ndarray, subject: Subject, eye: tuple[int, ...]) -> np.ndarray:
    """Crease, edges and lashes of one eye."""
    face, look, rng = subject.face, subject.look, canvas.rng
    out = np.sign(face[eye[0], 0])
    upper, lower = find_lids(face, eye)
    dark, ink = look["skin"] * (0.36, 0.25, 0.23), np.array([30, 22, 20])
    bow = 1 - np.linspace(-1, 1, len(upper)) ** 2
    crease = upper - np.stack([-0.012 * out * np.ones_like(bow), 0.012 + (0.018 + 0.024 * look["crease"]) * bow], -1)
    image = mix(image, dark, (0.12 + 0.45 * look["crease"]) * canvas.line(crease[3:-5], 0.010, 0.006))
    image = mix(image, look["skin"] * (0.74, 0.62, 0.58), 0.35 * canvas.line(crease[4:-6] - (0, 0.02), 0.03, 0.02))
    image = mix(image, look["skin"] * (0.80, 0.58, 0.54), 0.45 * canvas.line(lower, 0.022, 0.008))
    bag = lower + np.stack([0 * bow, 0.02 + 0.035 * bow], -1)
    image = mix(image, dark, (0.06 + 0.20 * look["age"]) * canvas.line(bag[8:-6], 0.010, 0.010))
    thick = 0.013 + 0.010 * look["lashes"]
    image = mix(image, ink, 0.90 * canvas.line(upper[:-3] - (0, 0.003), thick, 0.004))
    image = mix(image, look["skin"] * (0.32, 0.22, 0.2), 0.35 * canvas.line(lower[4:-8] + (0, 0.003), 0.007, 0.004))
    lashes = []
    for s in np.linspace(0.0, 0.84, 40):
        root = upper[int(s * (len(upper) - 1))] - (0, 0.004)
        reach = np.array([out * 0.060 * (0.95 - 1.5 * s), -0.026 - 0.014 * (1 - s)]) * rng.uniform(0.6, 1.0)
        reach *= 0.40 + 0.75 * look["lashes"]
        lashes.append(curve(np.array([root, root + reach * (0.65, 0.40), root + reach]), 6))
    return mix(image, ink, (0.25 + 0.5 * look["lashes"]) * canvas.strokes(lashes, 0.005))


def _paint_brow(canvas: Canvas, image: np.ndarray, subject: Subject, ends: np.ndarray) -> np.ndarray:
    """A brow of single hairs; ``ends`` "5 2" from the outer to the inner end."""
    look, rng = subject.look, canvas.rng
    line = curve(ends, 100)[::-1]  # inner to outer
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    hairs = []
    for s in rng.beta(1.25, 1.05, int(560 * look["brow_density"])):
        place, across = int(s * 99), rng.normal() * 0.5
        half = look["brow_width"] * (0.55 + 0.55 * np.sin(np.pi * min(1.0, 0.12 + s * 1.25))) * (1 - 0.75 * s**2.4)
        root = line[place] + (0, 0.006 + across * half)
        upright = np.clip(0.75 - 2.0 * s, 0, 0.8) + 0.12 + rng.normal() * 0.08
        lean = along[place] * (1.05 - upright) - np.array([0, upright + 0.25 * across * (s > 0.15)])
        lean *= rng.uniform(0.040, 0.070) * (1 - 0.35 * s) / np.linalg.norm(lean)
        hairs.append(np.array([root, root + lean * 0.55 - (0, 0.002), root + lean]))
    soft = canvas.strokes(hairs, 0.016, 0.012)
    image = mix(image, look["brow"] * 0.55 + look["skin"] * 0.30, (0.25 + 0.35 * look["brow_density"]) * soft)
    return mix(image, look["brow"], (0.40 + 0.35 * look["brow_density"]) * canvas.strokes(hairs, 0.005, 0.0025))
