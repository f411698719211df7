"""How long a live answer takes."""

import math
import random
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True)
class Latency:
    """Seconds for one answer: always `seconds`, or lognormal with that median; `sigma`: the spread of the logarithm."""

    seconds: float = 0.0
    sigma: float = 0.0
    shape: Literal["fixed", "lognormal"] = "fixed"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "0.5", "fixed:0.5" or "lognormal:0.5,0.6"; ValueError says what is wrong."""
        shape, _, numbers = text.rpartition(":")
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        if not all(math.isfinite(value) and value >= 0 for value in values):
            values = []
        match shape, values:
            case "" | "fixed", [seconds]:
                return cls(seconds)
            case "lognormal", [seconds, sigma]:
                return cls(seconds, sigma, "lognormal")
            case _:
                message = f"unknown latency {text!r}; write SECONDS, fixed:SECONDS or lognormal:MEDIAN_SECONDS,SIGMA"
                raise ValueError(message)

    def draw(self, source: random.Random) -> float:
        """The seconds of the next answer."""
        if self.shape == "fixed":
            return self.seconds
        return self.seconds * math.exp(source.gauss(0.0, self.sigma))


AT_ONCE = Latency()
