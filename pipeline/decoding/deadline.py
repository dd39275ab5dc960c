"""How long a decoder may take."""

from dataclasses import dataclass

from cluster.failures import UserError


@dataclass(frozen=True)
class Deadline:
    """Time to wait for one utterance. The default is 30 s, for slow storage, and 5 x the span: about twenty times what 1080p
    takes on one core. A span is no longer than the file's bytes allow (`pipeline.media.limits.CREDITED_BYTES_PER_S`)."""

    to_open_s: float = 30.0
    """Seconds to open the files."""
    per_media_s: float = 5.0
    """Seconds more for each second of media in the utterance."""

    def __post_init__(self):
        if self.to_open_s <= 0 or self.per_media_s < 0:
            raise UserError(
                f"deadline of {self.to_open_s} s and {self.per_media_s} s a second; give more than 0 s to open"
            )

    def of(self, span_s: float) -> float:
        return self.to_open_s + self.per_media_s * span_s
