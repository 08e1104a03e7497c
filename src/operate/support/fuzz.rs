//! Texts of a host, changed, on their way into a report for strangers.

use super::comments::without_comments;
use super::redact::redacted;
use crate::fuzzing::try_reader;

const TEXTS: [&[u8]; 5] = [
    b"[[engine]]\nname = \"containerd\" # ours\ntext = '''\n# no comment\n'''\n[registry.auth]\nusername = \"u\"\n",
    b"{\"auths\":{\"r.example\":{\"auth\":\"dXNlcjpwYXNz\"}}}\nauths: {\n",
    b"spec:\n  env:\n  - name: A\n    token: |\n      abc\n      def\n  other: x\n",
    b"Authorization: Bearer abcdefghijklmnopqrstuvwx\ncurl -u user:pass --key \"a b\" https://u:p@r.example/?token=x&y=z\n",
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n",
];

#[test]
fn whatever_stands_before_a_password_it_is_in_no_report() {
    try_reader("redact", &TEXTS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let text = format!("{text}\npassword = \"hunter2hunter2\"\n");
        assert!(!redacted(&text).contains("hunter2hunter2"));
    });
}

#[test]
fn a_toml_file_without_its_comments_says_the_same() {
    let table = |text: &str| text.parse::<toml::Table>().ok();
    try_reader("comments", &TEXTS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let without = without_comments(&text);
        if let Some(table_of_text) = table(&text) {
            assert_eq!(table(&without), Some(table_of_text));
        }
    });
}
