//! Mistakes in images, exemptions, trials and revocations.

use super::mistakes::{each_is_found, rule_with};

#[test]
fn each_mistake_in_an_image_is_found_at_its_place() {
    each_is_found(&[
        (
            "[[image]]\nname = \"h.example/a\"\ndigest = \"DIGEST\"\n",
            "4:8: bad-name",
        ),
        (
            "[[image]]\nname = \"pause:3\"\ndigest = \"DIGEST\"\n",
            "4:8: bad-name",
        ),
        (
            "[[image]]\nname = \"docker.io/alpine:3\"\ndigest = \"DIGEST\"\n",
            "4:8: bad-name",
        ),
        (
            "[[image]]\nname = \"h.example/a:3@DIGEST\"\ndigest = \"DIGEST\"\n",
            "4:8: bad-name",
        ),
        (
            "[[image]]\nname = \"h.example/a:3\"\ndigest = \"sha512:00\"\n",
            "5:10: bad-digest",
        ),
        ("[[image]]\nname = \"h.example/a:3\"\n", "3:1: missing-key"),
        (
            "[[image]]\nname = \"h.example/a:3\"\ndigest = \"DIGEST\"\n[[image]]\nname = \"h.example/a:3\"\ndigest = \"DIGEST\"\n",
            "7:8: duplicate",
        ),
    ]);
}

#[test]
fn each_mistake_in_an_exemption_is_found_at_its_place() {
    each_is_found(&[
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01\nreason = \"x\"\n",
            "5:9: bad-value",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00\nreason = \"x\"\n",
            "5:9: bad-value",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = \"2026-12-01T00:00:00Z\"\nreason = \"x\"\n",
            "5:9: bad-value",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2027-02-19T00:00:00Z\nreason = \"x\"\n",
            "5:9: until",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\n",
            "3:1: missing-key",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\nreason = \" \"\n",
            "6:10: bad-value",
        ),
        (
            "[[exempt]]\nmatch = \"h.example/a\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\ndigests = []\n",
            "7:11: bad-value",
        ),
    ]);
}

#[test]
fn each_mistake_in_a_trial_or_a_revocation_is_found_at_its_place() {
    each_is_found(&[
        (
            &rule_with("audit-until = 2027-02-19T00:00:00Z"),
            "12:15: until",
        ),
        (
            &rule_with("audit-until = \"2026-12-01T00:00:00Z\""),
            "12:15: bad-value",
        ),
        (
            "mode = \"audit\"\naudit-until = 2026-12-01\n",
            "4:15: bad-value",
        ),
        ("[[revoked]]\nreason = \"x\"\n", "3:1: missing-key"),
        ("[[revoked]]\ndigest = \"DIGEST\"\n", "3:1: missing-key"),
        (
            "[[revoked]]\ndigest = \"DIGEST\"\nkey = \"KEY\"\nreason = \"x\"\n",
            "5:1: bad-value",
        ),
        (
            "[[revoked]]\nkey = \"roots/acme.pub\"\nreason = \"x\"\n",
            "4:7: bad-key",
        ),
    ]);
}
