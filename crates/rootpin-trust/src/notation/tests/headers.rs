//! Envelopes that other programs read in another way, or that ask for what is not done here.

use super::certificates::*;
use super::*;

const ROOT: u8 = 1;
const LEAF: u8 = 2;

/// What an envelope comes to, after a change of its text.
fn changed(header: &str, change: impl Fn(&str) -> String) -> String {
    let root = authority("root", ROOT);
    let leaf = leaf("leaf", LEAF).issued_by(&root);
    let root = root.issued_by_itself();
    let mut file = jws(LEAF, &[&leaf, &root], header, &payload(""));
    file.bytes = change(str::from_utf8(&file.bytes).unwrap()).into_bytes();
    let pins = NotationPins {
        certificates: vec![pinned(&root)],
        ..pins(&[])
    };
    said(&pins, &[file])
}

fn of_header(header: &str) -> String {
    changed(header, str::to_owned)
}

/// The mandatory attributes, and another one.
fn header_with(name: &str, value: &str) -> String {
    header().replace('}', &format!(",\"{name}\":{value}}}"))
}

#[test]
fn an_attribute_that_asks_for_what_is_not_done_here_need_not_be_critical() {
    assert_eq!(
        of_header(&header_with("com.example.note", "\"p\"")),
        "signed"
    );
    for name in UNDONE {
        let said = of_header(&header_with(name, "\"p\""));
        assert!(said.contains(name), "{said}");
        // The same in COSE: algorithm, critical attributes, type, scheme, and this one.
        let text = |text: &str| [cbor::head(3, text.len()), text.as_bytes().to_vec()].concat();
        let pairs = [
            vec![1, 0x26, 2, 0x81],
            text(SIGNING_SCHEME),
            vec![3],
            text(PAYLOAD),
            text(SIGNING_SCHEME),
            text(SCHEME),
            text(name),
            text("p"),
        ];
        let header = [cbor::head(5, 5), pairs.concat()].concat();
        let length = cbor::head(2, header.len());
        let unsigned = vec![0xa1, 0x18, 33, 0x80, 0x40, 0x40];
        let envelope = [vec![0xd2, 0x84], length, header, unsigned].concat();
        let read = cose::read(&envelope).unwrap();
        assert_eq!(read.attributes.critical, [SIGNING_SCHEME, name]);
    }
}

#[test]
fn a_member_that_go_takes_for_another_one_makes_an_envelope_count_for_nothing() {
    let is_refused = |said: &str| assert!(said.contains("in other letters"), "{said}");
    for (name, value) in [
        ("ALG", "\"none\""),
        ("Crit", "[\"x\"]"),
        ("CTY", "\"x\""),
        ("IO.cncf.notary.expiry", "\"2020-01-01T00:00:00Z\""),
        ("io.cncf.notary.verificationplugin", "\"p\""),
    ] {
        is_refused(&of_header(&header_with(name, value)));
    }
    for (member, more) in [
        ("\"payload\"", "\"PAYLOAD\":\"e30\",\"payload\""),
        ("\"signature\"", "\"Signature\":\"AA\",\"signature\""),
        ("\"protected\"", "\"proTected\":\"e30\",\"protected\""),
        ("\"header\"", "\"Header\":{},\"header\""),
        ("\"x5c\"", "\"X5C\":[],\"x5c\""),
    ] {
        let change = |text: &str| text.replacen(member, more, 1);
        is_refused(&changed(&header(), change));
    }
}

#[test]
fn an_expiry_is_a_time_of_rfc_3339_up_to_the_last_one() {
    let expiring = |time: &str| {
        let header = header_with(EXPIRY, &format!("\"{time}\""));
        let (one, both) = (format!("[\"{SIGNING_SCHEME}\""), format!("\"{EXPIRY}\""));
        of_header(&header.replace(&one, &format!("{one},{both}")))
    };
    for good in [
        "2026-12-01T00:00:00Z",
        "2026-12-01T02:00:00.5+02:00",
        "9999-12-31T23:59:59Z",
    ] {
        assert_eq!(expiring(good), "signed", "{good}");
    }
    for odd in [
        "2026-12-01t00:00:00z",
        "2026-12-01 00:00:00Z",
        "2026-12-01T00:00:00+00:00[UTC]",
        "20261201T000000Z",
    ] {
        assert!(expiring(odd).contains("is no time"), "{odd}");
    }
}

#[test]
fn critical_attributes_are_few() {
    let calling = |names: &str| {
        let header = header_with("zz", "1");
        let one = format!("[\"{SIGNING_SCHEME}\"");
        of_header(&header.replace(&one, &format!("{one},{names}")))
    };
    assert!(calling("\"zz\"").contains("is not known here"));
    // Of thousands each would be looked for in the whole header, before anything is verified.
    let many = calling(&vec!["\"zz\""; 9_000].join(","));
    assert!(many.contains("more than 16"), "{many}");
}
