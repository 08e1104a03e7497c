//! Edits of policies that people wrote by hand: everything but the edit's own lines stays, byte for
//! byte.

use proptest::prelude::*;

use super::*;

const POLICY: &str = r#"# our hosts
version = 1
default   = "deny"   # the only one

[[rule]]
match = "r.example/web/**"   # before its root: any order will do
roots = [ "web", "acme" ]

# the publisher's, by phone 2026-03-01
[[root]]
id     = "acme"
type   = "notary"
server = "https://n.example"
keys   = [
	"roots/a.pub",   # alice
	"roots/b.pub"    # bob
	# carol's comes next year
]
role   = "targets"

[[rule]]
match = "r.example/team/**"
roots = ["acme"]

[local]
content = "deny"

[[root]]
id = 'web'
keys = ["roots/w.pub"]
"#;

fn lines(more: &str) -> String {
    more.to_owned()
}

#[test]
fn a_table_is_added_at_the_end() {
    let rule = NewTable {
        header: "rule",
        values: vec![
            ("match", "x.example/\"*".into()),
            ("roots", Value::Array(vec!["a".into()])),
        ],
    };
    let added = append(POLICY, std::slice::from_ref(&rule)).unwrap();
    assert_eq!(
        added,
        format!("{POLICY}\n[[rule]]\nmatch = 'x.example/\"*'\nroots = [\"a\"]\n")
    );
    assert_eq!(
        append("", std::slice::from_ref(&rule)).unwrap(),
        "[[rule]]\nmatch = 'x.example/\"*'\nroots = [\"a\"]\n"
    );
    let added = append("version = 1 # no end of line", &[rule]).unwrap();
    assert!(
        added.starts_with("version = 1 # no end of line\n\n[[rule]]\n"),
        "{added}"
    );
}

#[test]
fn a_key_gets_a_line_of_its_own_where_the_others_have_one() {
    let added = add_keys(POLICY, "acme", &lines_of(&["roots/c.pub", "roots/d.pub"])).unwrap();
    let wanted = POLICY.replace(
        "\t\"roots/b.pub\"    # bob\n\t# carol's comes next year\n",
        "\t\"roots/b.pub\",    # bob\n\t# carol's comes next year\n\t\"roots/c.pub\",\n\t\"roots/d.pub\"\n",
    );
    assert_eq!(added, wanted);
    let added = add_keys(POLICY, "web", &lines_of(&["x"])).unwrap();
    assert_eq!(
        added,
        POLICY.replace("[\"roots/w.pub\"]", "[\"roots/w.pub\", \"x\"]")
    );
}

#[test]
fn a_key_is_taken_out_with_its_line_and_no_other() {
    assert_eq!(
        remove_key(POLICY, "acme", "roots/a.pub").unwrap(),
        POLICY.replace("\t\"roots/a.pub\",   # alice\n", "")
    );
    assert_eq!(
        remove_key(POLICY, "acme", "roots/b.pub").unwrap(),
        POLICY.replace("\t\"roots/b.pub\"    # bob\n", "")
    );
    assert_eq!(
        remove_key(POLICY, "web", "roots/w.pub").unwrap_err(),
        EditError::LastEntry(lines("roots/w.pub"))
    );
    assert_eq!(
        remove_key(POLICY, "acme", "x").unwrap_err(),
        EditError::NoEntry {
            key: "keys",
            entry: lines("x")
        }
    );
    assert_eq!(
        remove_key(POLICY, "none", "x").unwrap_err(),
        EditError::NoRoot(lines("none"))
    );
    for (list, entry, left) in [
        ("[\"a\", \"b\"]", "a", "[\"b\"]"),
        ("[\"a\", \"b\"]", "b", "[\"a\"]"),
        ("[ 'a' ,\"b\", \"c\" , ]", "c", "[ 'a' ,\"b\" , ]"),
        ("[\"a\",\n  \"b\", \"c\"]", "c", "[\"a\",\n  \"b\"]"),
    ] {
        let text = |list: &str| format!("[[root]]\nid = \"r\"\nkeys = {list} # end\n");
        assert_eq!(remove_key(&text(list), "r", entry).unwrap(), text(left));
    }
}

#[test]
fn a_root_comes_into_a_rule_that_refused_its_names_and_no_comment_is_lost() {
    let refusing = format!("{POLICY}\n[[rule]]\nmatch = \"x.example/*\"\nroots = []\n");
    assert_eq!(
        add_root_to_rule(&refusing, "x.example/*", "acme").unwrap(),
        refusing.replace("roots = []", "roots = [\"acme\"]")
    );
    let told = refusing.replace("[]", "[ # nobody\n]");
    let edited = add_root_to_rule(&told, "x.example/*", "acme");
    assert_eq!(edited.unwrap_err(), EditError::ByHand);
}

#[test]
fn a_rule_s_quorum_is_written_over_or_comes_after_its_roots() {
    let two = set_quorum(POLICY, "r.example/web/**", 2).unwrap();
    let roots = "roots = [ \"web\", \"acme\" ]\n";
    assert_eq!(two, POLICY.replace(roots, &format!("{roots}quorum = 2\n")));
    let three = set_quorum(&two, "r.example/web/**", 3).unwrap();
    assert_eq!(three, two.replace("quorum = 2", "quorum = 3"));
    let last = "[[rule]]\n  match = \"x.example/*\"\n  roots = [\n    \"a\",\n  ]";
    assert_eq!(
        set_quorum(last, "x.example/*", 2).unwrap(),
        format!("{last}\n  quorum = 2\n")
    );
    let in_line = "rule = [{ match = \"x.example/*\", roots = [\"a\"] }]\n";
    for (text, pattern) in [(in_line, "x.example/*"), (POLICY, "y.example/*")] {
        let edited = set_quorum(text, pattern, 2);
        assert_eq!(edited.unwrap_err(), EditError::ByHand, "{text}");
    }
}

#[test]
fn a_root_is_taken_out_with_its_rules_and_the_comments_around_it_stay() {
    let without = remove_from_rules(POLICY, "acme", false).unwrap();
    assert_eq!(
        without,
        POLICY.replace("[ \"web\", \"acme\" ]", "[ \"web\" ]")
    );
    let without = remove_from_rules(POLICY, "acme", true).unwrap();
    let rule = "\n[[rule]]\nmatch = \"r.example/team/**\"\nroots = [\"acme\"]\n";
    assert_eq!(
        without,
        POLICY
            .replace("[ \"web\", \"acme\" ]", "[ \"web\" ]")
            .replace(rule, "")
    );
    let without = remove_root(POLICY, "web").unwrap();
    assert_eq!(
        without,
        POLICY.replace("\n[[root]]\nid = 'web'\nkeys = [\"roots/w.pub\"]\n", "")
    );
    let without = remove_root(POLICY, "acme").unwrap();
    assert!(
        without.contains(
            "# the publisher's, by phone 2026-03-01\n\n[[rule]]\nmatch = \"r.example/team/**\""
        ),
        "{without}"
    );
}

#[test]
fn values_are_replaced_where_they_stand() {
    let text = "[[root]]\nid='t'\nsha256 =  'aa'  # told by phone\nfile = \"roots/1.json\"\n";
    let replaced = replace(
        text,
        "t",
        &[("file", lines("roots/2.json")), ("sha256", lines("bb"))],
    )
    .unwrap();
    assert_eq!(
        replaced,
        text.replace("'aa'", "\"bb\"").replace("1.json", "2.json")
    );
    assert_eq!(
        replace(text, "t", &[("metadata", lines("x"))]).unwrap_err(),
        EditError::ByHand
    );
}

#[test]
fn what_is_written_in_another_way_is_left_to_its_owner() {
    for odd in [
        "root = [{ id = \"r\", keys = [\"a\"] }, { id = \"q\" }]\nx = 1\n",
        "[[root]]\nid = \"r\"\nkeys = [\"a\", \"b\"]\n[[rule]]\nroots = [\"r\"]\n[root.floor]\nroot = 1\n",
    ] {
        for edited in [
            remove_root(odd, "r"),
            append(
                odd,
                &[NewTable {
                    header: "root",
                    values: vec![("id", "s".into())],
                }],
            ),
        ] {
            match edited {
                Ok(text) => assert!(text.starts_with(odd), "{text}"),
                Err(error) => assert_eq!(error, EditError::ByHand),
            }
        }
    }
    assert!(matches!(
        add_keys("x", "r", &lines_of(&["a"])),
        Err(EditError::Syntax(_))
    ));
}

fn lines_of(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

/// Whether `after` is `before` with something put in at one place.
fn is_one_insertion(before: &str, after: &str) -> bool {
    let same = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
        a.zip(b).take_while(|(a, b)| a == b).count()
    };
    let start = same(&mut before.bytes(), &mut after.bytes());
    let end = same(&mut before.bytes().rev(), &mut after.bytes().rev());
    start + end >= before.len()
}

fn comment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "# [a-z\"',\\[\\]= é]{0,12}".prop_map(|text| text)
    ]
}

fn quoted(text: &str) -> impl Strategy<Value = String> + use<> {
    prop_oneof![
        Just(format!("\"{text}\"")),
        Just(format!("'{text}'")),
        Just(format!("\"\"\"{text}\"\"\""))
    ]
}

/// `key = value` with blanks around, and a comment behind.
fn line(key: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    ("[ \t]{0,3}", "[ \t]{0,4}", value, "[ \t]{0,2}", comment()).prop_map(
        move |(indent, space, value, gap, comment)| {
            format!("{indent}{key}{space}={space}{value}{gap}{comment}\n")
        },
    )
}

/// A list in one line, or one entry a line, with and without a comma at its end.
fn list(entries: &'static [&'static str]) -> impl Strategy<Value = String> {
    let style = (
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec((comment(), quoted("")), entries.len()),
        comment(),
    );
    style.prop_map(move |(many, comma, parts, end)| {
        let last = entries.len() - 1;
        let sign = |at: usize| if at < last || comma { "," } else { "" };
        if many {
            let line = |(at, (comment, _)): (usize, &(String, String))| {
                format!("  \"{}\"{} {comment}\n", entries[at], sign(at))
            };
            format!(
                "[ {end}\n{}]",
                parts
                    .iter()
                    .enumerate()
                    .map(line)
                    .collect::<Vec<_>>()
                    .concat()
            )
        } else {
            let entries: Vec<_> = entries
                .iter()
                .enumerate()
                .map(|(at, entry)| format!(" '{entry}'{}", sign(at)))
                .collect();
            format!("[{}]", entries.concat())
        }
    })
}

/// A commented policy in any order, with any line ending.
fn policy() -> impl Strategy<Value = String> {
    let acme = (
        comment(),
        line("id", quoted("acme")),
        line("keys", list(&["a", "b", "c"])),
        line("role", quoted("targets")),
        any::<bool>(),
    )
        .prop_map(|(above, id, keys, role, swap)| {
            let body = if swap {
                format!("{role}{keys}{id}")
            } else {
                format!("{id}{keys}{role}")
            };
            format!("{above}\n[[root]]\n{body}")
        });
    let other = (line("id", quoted("other")), line("keys", list(&["x"])))
        .prop_map(|(id, keys)| format!("  [[ root ]] # other\n{keys}{id}"));
    let alone = line("roots", list(&["acme"]))
        .prop_map(|roots| format!("\n\n[[rule]]\nmatch = 'r.example/a'\n{roots}"));
    let both = line("roots", list(&["other", "acme"]))
        .prop_map(|roots| format!("[[rule]]\n{roots}match = 'r.example/b'\n"));
    let local = comment().prop_map(|comment| format!("[local] {comment}\ncontent = 'deny'\n\n"));
    let parts = (acme, other, alone, both, local)
        .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e])
        .prop_shuffle();
    (parts, any::<bool>(), any::<bool>(), comment()).prop_map(|(parts, crlf, ends, last)| {
        let text = format!(
            "version = 1\ndefault = 'deny'\n{}{last}{}",
            parts.concat(),
            if ends { "\n" } else { "" }
        );
        if crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    })
}

proptest! {
    #[test]
    fn an_edit_changes_nothing_but_its_own_lines(text in policy()) {
        let root = NewTable { header: "root", values: vec![("id", "new".into()), ("keys", Value::Array(vec!["n".into()]))] };
        let added = append(&text, &[root]).unwrap();
        prop_assert!(added.starts_with(&text));
        let back = remove_root(&added, "new").unwrap();
        prop_assert!(back.strip_prefix(&text).is_some_and(|rest| rest.trim().is_empty()), "{back:?}");

        let keyed = add_keys(&text, "acme", &lines_of(&["d"])).unwrap();
        // A comma behind what was the last one may be needed too.
        let commas = keyed.match_indices(',').map(|(at, _)| format!("{}{}", &keyed[..at], &keyed[at + 1..]));
        prop_assert!(is_one_insertion(&text, &keyed) || commas.into_iter().any(|less| is_one_insertion(&text, &less)), "{keyed}");
        for entry in ["a", "b", "c"] {
            // Only where a comment of another entry would go with it is it refused.
            if let Ok(less) = remove_key(&keyed, "acme", entry) {
                prop_assert!(is_one_insertion(&less, &keyed), "{less}");
            }
        }

        let one_of_two = remove_from_rules(&text, "acme", false).unwrap();
        prop_assert!(is_one_insertion(&one_of_two, &text), "{one_of_two}");
        let freed = remove_from_rules(&one_of_two, "acme", true).unwrap();
        prop_assert!(is_one_insertion(&freed, &one_of_two), "{freed}");
        let gone = remove_root(&freed, "acme").unwrap();
        prop_assert!(is_one_insertion(&gone, &freed), "{gone}");
        for part in ["id", "'deny'", "version = 1", "r.example/b"] {
            prop_assert!(gone.contains(part), "{gone}");
        }
        prop_assert!(!gone.contains("acme"), "{gone}");
    }

    #[test]
    fn no_text_makes_an_edit_panic(text in "(\\[\\[root\\]\\]\n|id = 'r'\n|keys = \\[|'a'|,|\\]|#|\n|\r\n|é| ){0,24}") {
        let _ = add_keys(&text, "r", &lines_of(&["b"]));
        let _ = remove_key(&text, "r", "a");
        let _ = remove_root(&text, "r");
        let _ = append(&text, &[NewTable { header: "rule", values: vec![("match", "x".into())] }]);
    }
}
