"""Texts for properties of messages: any script, and what the encodings have rules about."""

from email.utils import unquote

from hypothesis import strategies as st

FORBIDDEN = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]))
VISIBLE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=FORBIDDEN), max_size=200
)
# ASCII in the proportion in which real subjects have it, with every special of the syntax.
SPECIALS = st.text('abc ,;:<>()[]@"\\=?_.utf-8BQ', max_size=200)
NAMES = (VISIBLE | SPECIALS).map(str.strip)
# The judges take quotes and angle brackets off a file name even where they are encoded.
FILENAMES = NAMES.filter(lambda name: name and name == unquote(name))
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
# Lines about as long as each limit, and the starts and ends of lines that need care. Long and
# mostly ASCII, so that each transfer encoding is met.
_PIECES = st.sampled_from(
    [
        "word ",
        "=",
        "=3D",
        ".",
        "From ",
        ">",
        "\t",
        " ",
        "  ",
        "é",
        "🎉",
        "--",
        "--=_",
        "\x0c",
        "\x7f",
    ]
)
_RUNS = st.tuples(st.sampled_from("xyé ="), st.sampled_from([1, 70, 74, 75, 76, 77, 990, 991])).map(
    lambda run: run[0] * run[1]
)
_LINE_ENDS = st.sampled_from(["\n", "\n", "\r\n", "\r", " \n", "\t\n", "\n.\n", "\nFrom "])
LINES = st.lists(_PIECES | _RUNS | _LINE_ENDS, max_size=40).map("".join)
BODIES = LINES | ANY_TEXT
