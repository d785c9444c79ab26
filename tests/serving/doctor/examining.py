"""What `mmr doctor` finds, for tests that say what it should."""

from serving.doctor.diagnosis import Patient, diagnose, repair
from serving.doctor.finding import Finding, Level


def wrong(patient: Patient) -> list[Finding]:
    return [finding for finding in diagnose(patient) if finding.level is not Level.OK]


def only(patient: Patient) -> Finding:
    found = wrong(patient)
    assert len(found) == 1, found
    assert found[0].cure
    return found[0]


def assert_mended(patient: Patient) -> list[str]:
    said = list(repair(list(diagnose(patient))))
    assert wrong(patient) == []
    return said
