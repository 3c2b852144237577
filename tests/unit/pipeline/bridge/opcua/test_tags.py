from fakes.places import ROOT

from pipeline.bridge.opcua.tags import TAGS, WRITABLE, markdown_tags, node_path, read_slots

NAMES = [tag.name for tag in TAGS]


def test_only_what_a_plc_writes_is_writable() -> None:
    assert set(WRITABLE) == {"AckTriggerId", "AckEpoch", "PlcHeartbeat", "Command", "Argument"}


def test_trigger_id_is_the_last_tag_of_its_verdict_and_of_all() -> None:
    assert NAMES[-1] == "TriggerId"
    for at in range(8):
        own = [name for name in NAMES if name.startswith(f"Slot{at}_")]
        assert own[-1] == f"Slot{at}_TriggerId"
        assert len(own) == 7


def test_names_are_unique_and_make_stable_identifiers() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert node_path("cam", "TriggerId") == "Live/cam/TriggerId"


def test_slot_counts_as_read_with_trigger_id_and_code_only() -> None:
    assert read_slots({"Slot2_TriggerId", "Slot3_Code", "Code"}, 9) == set()
    assert read_slots({"Slot2_TriggerId", "Slot2_Code", "Code", "TriggerId"}, 9) == {1, 2}


def test_table_in_the_docs_is_that_of_the_server() -> None:
    assert markdown_tags() in (ROOT / "docs" / "bridges.md").read_text("utf-8")
