"""Arguments of `vfi interpolate` for its outputs: of a video, its encoding and its sound, and of images."""

import argparse
from pathlib import Path

from vfi.commands import option_values


def add(parser: argparse.ArgumentParser) -> None:
    video = parser.add_argument_group("video")
    add = video.add_argument
    add("--start", type=option_values.seconds, help="begin here, in seconds or H:MM:SS (default: the beginning)")
    add("--end", type=option_values.seconds, help="stop here, in the same (default: the end)")
    add(
        "--slow-motion",
        type=option_values.rate,
        metavar="S",
        help="play S times slower (default 1; the sound: see --audio)",
    )
    what = "auto finds cuts between scenes and repeats a frame there, off interpolates across them; or a file with the "
    what += "times at which scenes begin, as --list-cuts prints them (default auto)"
    add("--scene-cuts", metavar="auto|off|FILE", help=what)
    add("--list-cuts", action="store_true", default=None, help="print the times at which scenes begin, and do no more")
    what = "bwdif makes one frame of two halves, bob one of each (default auto: bwdif where it is interlaced)"
    add("--deinterlace", choices=("auto", "off", "bob", "bwdif"), help=what)
    what = "read also huge frames that take next to no bytes, as files have that are made to fill a memory"
    add("--trust-input", action="store_true", default=None, help=what)
    add("--quiet", action="store_true", help="no progress bar")
    add("--json-progress", action="store_true", default=None, help="progress as lines of JSON on stderr, for programs")
    what = "leave out frames that repeat others (animation on twos and threes), and interpolate between distinct ones"
    add("--dedup", action="store_true", default=None, help=what)
    what = "with --dedup: even times, or as many in every interval between distinct frames (default even)"
    add("--target", choices=("even", "distinct"), help=what)
    add("--verbose", action="store_true", default=None, help="show what encoders print")
    what = "keep what is finished in parts so long, so that a run that is killed can go on; 0: all at once (default 60)"
    add("--dry-run", action="store_true", default=None, help="say what would be done and how long it would take")
    add("--recursive", action="store_true", default=None, help="videos in folders of the input folder as well")
    add("--input-fps", type=option_values.rate, metavar="FPS", help="of a sequence of images (default 25)")
    add("--start-number", type=int, metavar="N", help="of a sequence of images: the first number (default: the lowest)")
    add("--segment", type=option_values.seconds, metavar="SECONDS", help=what)
    add("--resume", action="store_true", default=None, help="go on with what an earlier run has kept")
    _add_encoding(parser)
    sound = parser.add_argument_group("sound of a video")
    add = sound.add_argument
    add("--no-audio", action="store_true", default=None, help="leave it out")
    what = "copy: only copied, else left out; stretch: as slow as the picture, at its own pitch; drop: none; or an "
    what += "encoder (default: copied, or encoded where the file needs it; none where the speed changes)"
    add("--audio", metavar="copy|stretch|drop|CODEC", help=what)
    add("--tracks", nargs="+", type=int, metavar="N", help="only these tracks, from 1 (default: all)")
    images = parser.add_argument_group("images")
    add = images.add_argument
    what = "also write the two given ones, as the first and the last"
    add("--ends", action="store_true", default=None, help=what)
    add("--ground-truth", type=Path, help="the true frame; prints PSNR and SSIM")
    add("--strip", type=Path, help="also write a picture of inputs, result, motion and holes")
    what = "where patches are routed: also write pictures of the result with those of each routed block in green"
    add("--show-route", type=Path, metavar="FILE", help=what)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("encoding of a video").add_argument
    what = "an encoder such as libx265 or hevc_nvenc, or a family: h264, hevc, av1, vp9, prores, dnxhd, ffv1"
    add("--codec", help=f"{what} (default: the source's family where the file can hold it)")
    add("--crf", type=int, help="quality on the encoder's own scale; smaller is better and larger files (x264: 17)")
    add("--preset", help="speed of the encoder, by its own names, such as slow")
    add("--bitrate", type=option_values.bits, metavar="N", help="bits per second, such as 8M, instead of a quality")
    what = "of the samples, such as yuv420p10le (default: the source's where the encoder has it, else the nearest)"
    add("--pixel-format", metavar="FORMAT", help=what)
    what = "another option of the encoder, by FFmpeg's name; may be repeated"
    add("--encoder-option", action="append", type=option_values.pair, metavar="KEY=VALUE", help=what)
