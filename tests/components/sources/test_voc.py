import pytest

from components.sources import voc

BOX = (1.0, 2.0, 30.0, 40.0)


def xml(*boxes, tag="bndbox", head="", filename="n02085620_7"):
    """An annotation as its sources write it: an `object` for each box."""
    objects = "".join(
        f"<object><name>dog</name><{tag}><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></{tag}></object>"
        for a, b, c, d in boxes
    )
    return f"{head}<annotation><filename>{filename}</filename>{objects}</annotation>".encode()


def test_every_object_has_a_box_in_the_order_given():
    assert voc.boxes(xml(BOX, (5, 6, 7, 8))) == (BOX, (5.0, 6.0, 7.0, 8.0))


def test_fractions_of_a_pixel_are_read():
    assert voc.boxes(xml((1.5, 2, 30.25, 40))) == ((1.5, 2.0, 30.25, 40.0),)


def test_blanks_round_a_number_are_read():
    assert voc.boxes(xml((" 1 ", "\n2\t", 30, 40))) == (BOX,)


def test_a_box_may_lie_outside_any_frame():
    assert voc.boxes(xml((-5, -6, 100_000, 40))) == ((-5.0, -6.0, 100_000.0, 40.0),)


def test_the_tag_of_the_box_is_asked_for():
    annotation = xml(BOX, tag="bodybndbox")

    assert voc.boxes(annotation, "bodybndbox") == (BOX,)
    assert voc.boxes(annotation) == voc.boxes(annotation, "headbndbox") == ()


def test_only_the_objects_of_the_annotation_itself_count():
    part = (
        b"<part><object><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
        b"</object></part></annotation>"
    )

    assert voc.boxes(xml(BOX).replace(b"</annotation>", part)) == (BOX,)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_the_encodings_of_xml_are_read(encoding):
    named = {"latin-1": '<?xml version="1.0" encoding="latin-1"?>'}.get(encoding, "")
    annotation = xml(BOX, head=named, filename="Bärli").decode()

    assert voc.boxes(annotation.encode(encoding)) == (BOX,)


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(b"", id="empty"),
        pytest.param(xml(BOX)[:-20], id="cut"),
        pytest.param(xml(BOX) + xml(BOX), id="two in one"),
        pytest.param(b"\xff\xfe\x00 no xml", id="bytes"),
        pytest.param(b"\0" * 500, id="zeros"),
        pytest.param(xml(), id="without object"),
        pytest.param(xml((30, 2, 1, 40)), id="inside out"),
        pytest.param(xml((1, 40, 30, 2)), id="upside down"),
        pytest.param(xml((1, 2, 1, 40)), id="empty box"),
        pytest.param(xml((1, 2, "", 40)), id="missing edge"),
        pytest.param(xml((1, 2, "wide", 40)), id="no number"),
        pytest.param(xml((1, 2, "3,5", 40)), id="comma for a point"),
        pytest.param(xml(BOX, (9, 9, 3, 3)), id="one of two is bad"),
        pytest.param(b'<?xml version="1.0" encoding="dogs"?><a/>', id="unknown encoding"),
        pytest.param(b'<?xml version="1.0" encoding="utf-7"?><a/>', id="unsafe encoding"),
        pytest.param(b"<annotation><object><name>x</name></object></annotation>", id="no box"),
        pytest.param(b"<a>" * 100_000 + b"</a>" * 100_000, id="deep"),
    ],
)
def test_an_annotation_that_cannot_be_read_has_no_boxes(annotation):
    assert voc.boxes(annotation) == ()


@pytest.mark.parametrize("edge", range(4))
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "-1e999", "Infinity"])
def test_an_edge_is_a_finite_number(number, edge):
    box = (*BOX[:edge], number, *BOX[edge + 1 :])

    assert voc.boxes(xml(box)) == ()


BOMB = (
    '<!DOCTYPE annotation [<!ENTITY a "30"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>'
)


@pytest.mark.parametrize(
    ("head", "number"),
    [
        pytest.param(BOMB, "&d;", id="entities of entities"),
        pytest.param('<!DOCTYPE a [<!ENTITY a "30">]>', "&a;", id="entity"),
        pytest.param('<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>', "&a;", id="file"),
        pytest.param('<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd">', "30", id="remote DTD"),
        pytest.param("<!DOCTYPE annotation>", "30", id="bare"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_an_annotation_with_a_document_type_is_refused(head, number, encoding):
    annotation = xml((1, 2, number, 40), head=head).decode()

    assert voc.boxes(annotation.encode(encoding)) == ()


def test_a_huge_annotation_is_refused():
    padding = f"<!--{' ' * (1 << 20)}-->"

    assert voc.boxes(xml(BOX, head=padding)) == ()
    assert voc.boxes(xml(BOX, head=padding[: 1 << 19] + "-->")) == (BOX,)
