//! Metadata that real publishers and servers made, judged as a host would.
