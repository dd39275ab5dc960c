"""What lets anybody in is kept out of what is written down."""

import pytest

from cluster.redaction import redacted
from cluster.run_record import RunRecord
from jobs.evaluate_teacher import EvaluateTeacher


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            "https://b.s3.amazonaws.com/k.onnx?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=abc",
            "https://b.s3.amazonaws.com/k.onnx?X-Amz-Credential=HIDDEN&X-Amz-Signature=HIDDEN",
        ),
        (
            "https://a.blob.core.windows.net/c/x?sv=1&sig=s%3D",
            "https://a.blob.core.windows.net/c/x?sv=HIDDEN&sig=HIDDEN",
        ),
        ("http://me:secret@host/x.pth", "http://me:HIDDEN@host/x.pth"),
        ("https://host/x#access_token=abc", "https://host/x#access_token=HIDDEN"),
        ("a HTTPS://h/x?token=abc, and more", "a HTTPS://h/x?token=HIDDEN and more"),
        ("s3://bucket/key?versionId=abc", "s3://bucket/key?versionId=abc"),
        ("file:///a?b=c", "file:///a?b=c"),
        ("/videos/a?b=c.mp4", "/videos/a?b=c.mp4"),
        ("https://host/plain.pth", "https://host/plain.pth"),
    ],
)
def test_signatures_tokens_and_passwords_are_hidden(given, kept):
    assert redacted(given) == kept


def test_a_record_holds_no_signature_wherever_it_was_given():
    signed = "https://h/t.onnx?X-Amz-Signature=abc"
    record = RunRecord("evaluate-teacher", EvaluateTeacher(data=signed, teacher=signed, out="out"))
    record.inputs |= {"teacher": signed, "more": [{"uri": signed}]}
    record.counts |= {"by": {signed: 1}}
    assert "abc" not in str(record.as_dict()) and "abc" not in str(record.configuration)
    assert record.as_dict()["configuration"]["teacher"] == "https://h/t.onnx?X-Amz-Signature=HIDDEN"
