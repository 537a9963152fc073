"""The thumbnails and maps that an audit kept, and what is to be said beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

from saywhy.audits.store import View

USUAL = 6000  # bytes of a thumbnail and a map as base64, where none tells


@final
class Thumbnails:
    """Of an audit, of which so many bytes may be taken out, as base64, as ``start`` was told."""

    def __init__(self, view: View) -> None:
        self._most = self._used = 0
        self._view, self._rows, self._files = view, dict[int, dict[str, Any]](), dict[int, tuple[bytes, bytes]]()

    def start(self, most: int) -> None:
        """From now on take out so many bytes at most."""
        self._most, self._used = most, 0

    @property
    def left(self) -> int:
        """Bytes that may be taken yet."""
        return self._most - self._used

    @cached_property
    def numbers(self) -> list[int]:
        """Of the pictures that have one."""
        return sorted(self._view.sql("SELECT DISTINCT number FROM shown")["number"].to_pylist())

    @cached_property
    def usual(self) -> int:
        """Bytes of a thumbnail and its map as base64, about."""
        query = "SELECT avg(octet_length(thumbnail) + octet_length(map)) * 4 / 3 AS usual FROM shown"
        return max(1, round(self._view.sql(query)["usual"][0].as_py() or USUAL))

    def load(self, numbers: Sequence[int]) -> None:
        """Read the thumbnails of these pictures, and what is said beside them, at once."""
        missing = [one for one in dict.fromkeys(numbers) if one not in self._rows]
        if not missing:
            return
        among = "WHERE number IN (SELECT unnest(?::bigint[]))"
        rows = self._view.sql(
            f"SELECT number, file, truths, prediction, probability, correct, width, height FROM pictures {among}",
            [missing],
        )
        files = self._view.sql(f"SELECT number, thumbnail, map FROM shown {among}", [missing])
        self._rows |= {row["number"]: row for row in rows.to_pylist()}
        self._files |= {row["number"]: (row["thumbnail"], row["map"] or b"") for row in files.to_pylist()}

    def files(self, number: int) -> tuple[bytes, bytes] | None:
        """The JPEGs of a picture and of its map, b"" for none; None where it was not kept."""
        self.load([number])
        return self._files.get(number)

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """What is said beside pictures, of those that have a row."""
        self.load(numbers)
        return [self._rows[one] for one in numbers if one in self._rows]

    def spend(self, picture: bytes, other: bytes, share: float = 1.0) -> bool:
        """Take out JPEGs; whether this share of the bytes that may be taken was not used up before."""
        if self._used >= share * self._most:
            return False
        self._used += (len(picture) + len(other)) * 4 // 3
        return True

    def take(self, number: int, share: float = 1.0) -> tuple[dict[str, Any], bytes, bytes] | None:
        """What is said beside a picture, its JPEG and that of its map, b"" for none.

        None where it was not kept, and where this share of the bytes that may be taken were.
        """
        rows, files = self.rows([number]), self.files(number)
        return (rows[0], *files) if rows and files and self.spend(*files, share) else None
