//! Reports of other hosts, changed.

use jiff::Timestamp;

use super::{Merge, Reports as _};
use crate::fuzzing::try_reader;

const REPORT: &[u8] = br#"{"version":1,"rootpin":"0.1.0","host":"node-1","at":"2026-11-26T10:00:00Z","outcome":"findings","online":false,"judged_by":"daemon","policy":{"hash":"sha256:aa","mode":"enforce","warnings":[],"revoked_keys":[]},"roots":[{"id":"acme","type":"tuf","sources":["https://t.example/"],"role":null,"pinned":{"version":1,"sha256":"bb"},"keys":[{"id":"cc","fingerprint":"SHA256:x"}],"max_age":3600,"held":[{"repository":"tuf","contact":"2026-11-26T10:00:00Z","versions":{"root":1,"timestamp":7},"root_expires":null,"timestamp_expires":"2026-11-27T10:00:00Z","files":{},"floors":[{"role":"timestamp","version":7,"signed":"sha256:dd","since":"2026-11-26T09:00:00Z","root_keys":["cc"],"pinned_keys":"sha256:ff","keys":["ee"]}]}]}],"images":[{"engine":"containerd","namespace":"k8s.io","name":"a","digest":"sha256:aa","judgement":{"outcome":"refused","code":"expired"}}],"parts":{},"trust_directories":[],"root_keys":[{"id":"cc","fingerprint":null,"pinned_by":[],"repositories":[{"directory":null,"repository":"r","listed_as":null}]}],"findings":[{"severity":"error","code":"image-refused","subject":"a","detail":"b"}],"untold":[]}"#;

#[test]
fn no_report_of_a_host_makes_the_merge_panic() {
    let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    let hosts = |bytes: &[u8]| {
        let mut merge = Merge::default();
        merge.report("one.json", REPORT);
        merge.report("other.json", bytes);
        merge.fleet(None, None, now).hosts.len()
    };
    assert_eq!(hosts(REPORT), 1);
    try_reader("audit-report", &[REPORT], |bytes| {
        assert!(hosts(bytes) <= 2);
    });
}
