"""Lists: each line stands for itself, whatever stands in the others."""

from io import BytesIO

import pytest

from models import Audio
from worker.lists import Line, ListError, lines

A, B = "a" * 32, "b" * 32


def read(text: str | bytes, **defaults: object) -> list[Line]:
    source = text if isinstance(text, bytes) else text.encode()
    return list(lines(BytesIO(source), batch="tonight", defaults=defaults))


def wrong(text: str | bytes) -> dict[int, str]:
    return {line.number: line.wrong for line in read(text) if line.entry is None}


def assets(given: list[Line]) -> list[str]:
    return [line.entry.wish.asset for line in given if line.entry]


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n{B}\n",
        f"\n{A}\r\n\r\n  {B}",
        f"asset\n{A}\n{B}\n",
        f"\ufeffasset;priority\r\n{A};\r\n{B};\r\n",
        f'priority,"asset"\n,"{A}"\n,{B}\n',
        f"asset\tid\n{A}\t\n{B}\t\n",
        f'{{"asset": "{A}"}}\n\n{{"asset": "{B}"}}\n',
        f'\ufeff{{"asset": "{A}"}}\n{{"asset": "{B}"}}\n',
    ],
)
def test_a_list_may_be_csv_or_json_lines_or_ids(text: str) -> None:
    given = read(text)
    assert assets(given) == [A, B]
    assert not wrong(text)


def test_columns_are_the_arguments_and_their_members() -> None:
    names = "asset,aaclc,priority,requester,metadata.article,metadata,callback.task,callback.queue"
    [line] = read(f'{names}\n{A},YES,-3,news,4711,"{{""b"": [1]}}",cms.done,cms\n')
    assert line.entry is not None
    wish = line.entry.wish
    assert (wish.audio, wish.priority, wish.by) == (Audio.AAC_LC, -3, "news")
    assert wish.metadata == {"article": "4711", "b": [1]}
    assert wish.callback is not None
    assert (wish.callback.task, wish.callback.queue) == ("cms.done", "cms")


def test_what_a_line_does_not_say_is_said_for_all() -> None:
    text = f"asset,priority,requester,aaclc\n{A},7,,\n{B},,sport,no\n"
    first, second = (line.entry for line in read(text, priority=2, requester="tonight", aaclc=True))
    assert first is not None
    assert second is not None
    assert (first.wish.priority, first.wish.by, first.wish.aaclc) == (7, "tonight", True)
    assert (second.wish.priority, second.wish.by, second.wish.aaclc) == (2, "sport", False)


def test_the_same_line_of_the_same_batch_is_the_same_request() -> None:
    [once], [again] = read(f"{A}\n"), read(f'{{"asset": "{A}", "priority": 9}}\n')
    [other_codec] = read(f"{A}\n", aaclc=True)
    [other_batch] = lines([A.encode()], batch="tomorrow", defaults={})
    ids = [each.entry.request_id for each in (once, again, other_codec, other_batch) if each.entry]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_an_id_is_taken_as_it_is_given() -> None:
    [line] = read(f"id,asset\narticle-1,{A}\n")
    assert line.entry is not None
    assert line.entry.request_id == "article-1"


def test_what_asks_for_the_same_says_for_the_same_as_which() -> None:
    given = read(f"{A}\n{B}\n\n{A}\n{A}\n")
    assert [(line.number, line.repeats) for line in given] == [
        (1, None),
        (2, None),
        (4, 1),
        (5, 1),
    ]


def test_an_id_that_comes_twice_for_another_thing_is_wrong() -> None:
    other_asset = f"id,asset\nx,{A}\nx,{B}\n"
    other_story = f"asset,metadata.article\n{A},1\n{B},1\n{A},2\n"
    assert assets(read(other_asset)) == [A]
    assert assets(read(other_story)) == [A, B]
    assert "its id, x, is that of line 2" in wrong(other_asset)[3]
    assert "is that of line 2" in wrong(other_story)[4]
    [first, again] = read(f"asset,priority\n{A},1\n{A},2\n")
    assert again.repeats == first.number


def test_null_is_as_if_it_were_not_there() -> None:
    [line] = read(f'{{"asset": "{A}", "requester": null, "id": null}}', requester="tonight")
    assert line.entry is not None
    assert line.entry.wish.by == "tonight"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("A" * 32 + ",", "32 hex digits"),
        (f"{A}", "1 cells"),
        (f"{A},1,2", "3 cells"),
        (f"{A},soon", "priority: is no whole number"),
        (f"{A},5000", "priority"),
        (",1", "asset: is missing"),
        (f'"{A},1', "CSV"),
        (f'"{A}"x,1', "CSV"),
        (f"{A}\0,1", "NUL"),
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_spoils_no_other(line: str, why: str) -> None:
    text = f"asset,priority\n{B},1\n{line}\n{A},2\n"
    assert assets(read(text)) == [B, A]
    assert list(wrong(text)) == [3]
    assert why.lower() in wrong(text)[3].lower()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "no JSON"),
        ("[1]", "no JSON object"),
        ("{" * 100_000, "no JSON"),
        (f'{{"asset": "{A}", "colour": 1}}', "colour"),
        (f'{{"asset": "{A}", "id": 7}}', "the id is no text"),
        (f'{{"asset": "{A}", "id": ""}}', "id must have"),
        (f'{{"asset": "{A}", "priority": "1"}}', "priority"),
        (f'{{"asset": "{A}", "metadata": {{"a": NaN}}}}', "metadata"),
        (f'{{"asset": "{A}", "requester": "*"}}', "requester"),
    ],
)
def test_a_wrong_line_of_json_is_told_as_well(line: str, why: str) -> None:
    text = f'{{"asset": "{B}"}}\n{line}\n{{"asset": "{A}"}}\n'
    assert assets(read(text)) == [B, A]
    assert list(wrong(text)) == [2]
    assert why in wrong(text)[2]


def test_a_line_that_is_not_utf8_is_told() -> None:
    text = f"asset,metadata.a\n{B},1\n".encode() + b"\xff\xfe," + f"\n{A},ü\n".encode()
    assert assets(read(text)) == [B, A]
    assert wrong(text) == {3: "is not UTF-8 (byte 1)"}


@pytest.mark.parametrize(
    ("cell", "why"),
    [("nonsense", "no JSON"), ("[1]", "no JSON object"), ('"{""a"": 1}"', "")],
)
def test_metadata_in_a_cell_is_a_json_object(cell: str, why: str) -> None:
    text = f"asset,metadata\n{A},{cell}\n"
    assert [said for said in wrong(text).values() if why in said] == list(wrong(text).values())
    assert bool(wrong(text)) == bool(why)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("film\nx\n", "no column `asset`"),
        ("asset,colour\n", "column `colour`"),
        ("asset,asset\n", "`asset` twice"),
        ("asset,priority.x\n", "priority.x"),
        ("asset,metadata.\n", "metadata."),
        ("asset\n".encode("utf-16"), "not UTF-8"),
        ('"asset\n', "its first line is no line of CSV"),
        (f"asset\r{A}\r", "its first line is no line of CSV"),
    ],
)
def test_a_list_whose_first_line_makes_no_sense_is_no_list(text: str | bytes, why: str) -> None:
    with pytest.raises(ListError, match=why):
        read(text)
