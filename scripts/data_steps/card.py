"""The table of docs/training_data.md: packages, what of them is used, and their licences."""

from data_steps.sources import ALBUMS, SERIES, TRAINING_CLIPS
from vfi_kernels.bench.report import markdown_table


def table() -> str:
    rows = [[album.package.name, f"pictures: {', '.join(map(short, album.members))}", album.package.licence]
            for album in ALBUMS]  # fmt: skip
    rows += [[clip.package.name, f"clip: {short(clip.member)}", clip.package.licence] for clip in TRAINING_CLIPS]
    rows += [[one.album.package.name, f"frames: {', '.join(map(short, one.album.members))}", one.album.package.licence]
             for one in SERIES]  # fmt: skip
    return markdown_table(["package", "what", "licence"], rows)


def short(member: str) -> str:
    return f"`{'/'.join(member.split('/')[-2:])}`"
