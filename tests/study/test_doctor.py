"""The doctor reports what it measured and advises where something is off."""

from nucseg.study import doctor


def test_report_names_versions_device_data_and_a_real_forward_pass():
    findings = {finding.subject: finding for finding in doctor.examine()}
    assert {
        "python",
        "torch",
        "memory",
        "device",
        "data",
        "forward pass, float32",
        "forward pass, bfloat16",
    } <= set(findings)
    assert " ms" in findings["forward pass, float32"].found


def test_a_gpu_that_would_be_silently_unused_is_said(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/" + name)
    assert "silently unused" in doctor._device(torch).advice


def test_advice_stands_under_its_finding():
    text = doctor.format_report([doctor.Finding("a", "1"), doctor.Finding("long", "2", "mend")])
    assert text.splitlines() == ["a     1", "long  2", "      ! mend"]
