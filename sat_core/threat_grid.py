"""Several threat models side by side: ``Linf:4/255,8/255 L2:0.25,0.5 L1:12``."""

from __future__ import annotations

import math
from typing import final

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.fields import fraction
from sat_core.registry import unknown
from sat_core.threat import norm_names, norm_of

_EXPECTED = 'grid: expected norms with radii, as "Linf:4/255,8/255 L2:0.25,0.5"'


@final
@attrs.frozen
class Threat:
    """A norm and a radius.

    Attributes:
        norm: Name of the norm.
        eps: Radius of the ball, in units of [0, 1] pixels, above 0.
        text: The radius as it was given, such as ``8/255``; of no meaning for what is attacked.
    """

    norm: str
    eps: float
    text: str = attrs.field(default="", eq=False)

    def __str__(self) -> str:
        return f"{self.norm} ε = {self.text or format(self.eps, 'g')}"

    def check_images(self, image_shape: tuple[int, ...] | None, name: str = "attack.eps") -> None:
        """Raise SpecError if the ball holds all images `(h, w, c)`; `name` is what messages call the radius."""
        norm_of(self.norm).check({name: self.eps}, image_shape)


@final
@attrs.frozen
class ThreatGrid:
    """Threat models side by side, the norms in the order in which they were given, radii ascending.

    Attributes:
        threats: At least one, and each once.
    """

    threats: tuple[Threat, ...]

    @classmethod
    def parse(cls, text: str) -> ThreatGrid:
        """Return the threat models that a text names.

        Args:
            text: Words like ``L2:0.25,0.5``: the name of a norm, and radii with commas between them, as numbers or
                fractions.

        Raises:
            SpecError: A norm is unknown (the message names the nearest), or a radius is no number above 0 or stands
                twice.

        >>> str(ThreatGrid.parse("Linf:8/255,4/255 L2:0.5"))
        'Linf:4/255,8/255 L2:0.5'
        """
        radii: dict[str, list[Threat]] = {}
        for word in text.split():
            norm, colon, listed = word.partition(":")
            if not colon or not norm or not all(listed.split(",")):
                raise SpecError(f"{_EXPECTED}, got {quoted(word)}")
            if norm not in norm_names():
                raise SpecError(f"grid: {unknown('norm', norm, norm_names())}")
            for radius in listed.split(","):
                eps = fraction(radius)
                if not isinstance(eps, float) or not 0 < eps < math.inf:
                    raise SpecError(f"grid: expected radii > 0 of {norm}, as 0.5 or 8/255, got {quoted(radius)}")
                threat = Threat(norm, eps, radius)
                threat.check_images(None, "grid")
                if threat in radii.setdefault(norm, []):
                    raise SpecError(f"grid: expected each radius of {norm} once, got {quoted(radius)} again")
                radii[norm].append(threat)
        if not radii:
            raise SpecError(f"{_EXPECTED}, got nothing")
        return cls(tuple(each for norm in radii.values() for each in sorted(norm, key=lambda threat: threat.eps)))

    def __str__(self) -> str:
        norms = dict.fromkeys(threat.norm for threat in self.threats)
        texts = {norm: [t.text or repr(t.eps) for t in self.threats if t.norm == norm] for norm in norms}
        return " ".join(f"{norm}:{','.join(listed)}" for norm, listed in texts.items())
