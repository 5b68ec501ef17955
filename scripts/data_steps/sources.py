"""What the training data is made of: packages of Debian and of PyPI, the files of them, and their licences.

The licence is what the package says of these files, and each of them allows to change and to pass on, also for sale.
What says nothing of its own is under the licence of its package. Films and pictures that are obviously somebody else's
than the package says are left out, and so are cartoons and plain gradients, of which nothing is learned.
"""

from dataclasses import dataclass

from clips import CLIPS, FORENSICS, IMAGEIO, Clip, Package


@dataclass(frozen=True)
class Album:
    """Pictures of a package.

    Attributes:
        members: patterns of their paths in the package, as of fnmatch.
        digest: the first digits of the SHA-256 of all of theirs, in the order of the paths.
        without: patterns of those among them that are not taken.
    """

    package: Package
    members: tuple[str, ...]
    digest: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """A clip whose frames are pictures of a package, in the order of their paths."""

    name: str
    album: Album


VISP = Package("visp-images-data", "GPL-2")
ENDLESS_SKY = Package("endless-sky-high-dpi", "public domain, CC-BY-SA-3.0, CC-BY-SA-4.0, CC-BY-4.0")
KPHOTOALBUM = Package("kphotoalbum", "GPL-2+")
STAMPS = tuple(
    f"*/stamps/{kind}/*.png" for kind in ("animals", "food", "hobbies", "household", "people", "plants", "space",
                                          "sports", "town", "vehicles"))  # fmt: skip
ALBUMS = (
    Album(
        ENDLESS_SKY, ("*/images/land/*.jpg", "*/images/scene/loc*.jpg", "*/images/scene/army*.jpg"), "1b4f3a8379c32340"
    ),
    Album(Package("krank", "public domain"), ("*/unera-backgrounds/*.jpg",), "fe89ce0587f699c4"),
    Album(
        Package("plasma-workspace-wallpapers", "GPL-2+"),
        ("*/images/2560x1440.jpg", "*/images/2560x1440.png"),
        "c4e9980ceb05c7a6",
        ("*/FlyingKonqui/*",),
    ),
    Album(
        Package("mate-backgrounds", "GPL-2+"),
        ("*/mate/nature/*.jpg", "*/mate/abstract/Elephants.jpg"),
        "bdd51ad5ae36bc12",
    ),
    Album(
        Package("lomiri-wallpapers-16.04", "CC-BY-4.0, CC-BY-SA-4.0, CC0"),
        ("*/backgrounds/*.jpg",),
        "99221090ab0cdc65",
        ("*/umang_*",),
    ),
    Album(Package("lomiri-wallpapers-20.04", "CC-BY-SA-3.0"), ("*/Fossa_*.jpg", "*/Kleiber_*.jpg"), "7ebf24b39e88b674"),
    Album(KPHOTOALBUM, ("*/kphotoalbum/demo/*.jpg",), "814aba239f3bab8a", ("*/CategoryImages/*",)),
    Album(Package("scratch", "CC-BY-SA-3.0"), ("*/Media/Backgrounds/*.jpg",), "42f60c45d7598460"),
    Album(Package("palapeli-data", "GPL-2+"), ("*/palapeli/collection/*.jpg",), "00b5b59b0f6ffc64"),
    Album(
        Package("gnome-control-center-data", "GPL-2+, LGPL-2+, CC0"),
        ("*/pixmaps/faces/*.jpg",),
        "1e22c740842b2177",
        ("*/faces/legacy/*",),
    ),
    Album(
        Package("tuxpaint-stamps-default", "GPL-2"),
        STAMPS,
        "d82c4039b911e455",
        ("*cartoon*", "*_mirror.png", "*_flip.png"),
    ),
)
MECAVIDEO = Package("python3-mecavideo", "CC-BY-SA-3.0, GPL-3")
BLUPI = Package("planetblupi-common", "GPL-3+")
NBSPHINX = Package("python-nbsphinx-doc", "public domain")
MORE_CLIPS = (
    Clip("plant", IMAGEIO, "images/realshort.mp4", "a8b35c2c2130453b"),
    Clip("grand-prix", NBSPHINX, "wikimediacommons/Shepard_Calais_1906_FrenchGP.ogv", "877b1e29fe0fc4b2"),
    Clip("launch", Package("renpy-demo", "Expat"), "game/oa4_launch.webm", "1a32f2934354c655"),
    Clip("diver", Package("pd-extendedview", "GPL-3+"), "media/diver.mov", "42cd4a53a0adc481"),
    Clip("talk", KPHOTOALBUM, "demo/movie.avi", "4f5fb4ee2319d3bc"),
    Clip("screen", FORENSICS, "movie2/movie-hello.mp4", "68162af4e15b20fb"),
    Clip("tour", Package("pampi", "GPL-3+"), "pampi-help/tour.mp4", "91710dd894ba07c3"),
    Clip("teapot", Package("gem-doc", "GPL-2+"), "data/anim-1.mov", "94a4eb6b15230523"),
    *(Clip(name, MECAVIDEO, f"video/{file}", digest) for name, file, digest in (
        ("ball", "balle1-vp9.avi", "7d1e3de70031f8cd"),
        ("bounce", "balle-jbart.mp4", "85a4c1934e97e417"),
        ("magnets", "Effet_force_magnetique.ogv", "14fd069df7ff3ba4"),
        ("inertia", "Principe_inertie.avi", "96383b2f3824fea8"),
        ("force", "Force_constante.avi", "b122890388c65508"),
        ("bicycle", "g1.avi", "0f6fbf3feb2842d0"),
        ("bicycle-2", "g2.avi", "4ca02dfcef93603f"),
    )),
    *(Clip(f"blupi-{file}", BLUPI, f"movie/{file}.mkv", digest) for file, digest in {
        "history2": "4a018fa57359cafb", "play103": "9d9365bebc4ab4d0",
        "play105": "be770bc1793b3272", "play108": "a5b2e351787dea11",
        "play110": "6b1f297d2eb0bb3a",
        "play119": "8e4ed29e76523cda", "win129": "2ba576d800560219",
    }.items()),
)  # fmt: skip
SERIES = (
    Series("desk", Album(VISP, ("*/ViSP-images/mbt/cube/*.pgm",), "419258073d31348e")),
    Series("dots", Album(VISP, ("*/ViSP-images/cube/*.pgm",), "3765f94bfdbe584c")),
    Series("target", Album(VISP, ("*/ViSP-images/mire-2/*.pgm",), "ca4c059a14aab66c")),
    Series("castle", Album(VISP, ("*/mbt-depth/castel/castel/*.pgm",), "2887150adee8a877")),
    Series("table", Album(Package("libdlib19.1", "BSL-1.0"), ("*/examples/video_frames/*.jpg",), "04b735b98c5898af")),
)
# None of these is measured: a clip that has cuts in the table is not trained on.
TRAINING_CLIPS = (*(clip for clip in CLIPS if not clip.cuts), *MORE_CLIPS)
