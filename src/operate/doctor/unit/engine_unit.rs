//! What distinguishes an engine's unit from others.

/// An engine, as units start it.
#[derive(Debug)]
pub(crate) struct EngineUnit {
    /// The unit's usual name.
    pub(crate) unit: &'static str,
    pub(crate) program: &'static str,
    /// The options whose values count.
    pub(crate) options: &'static [&'static str],
    /// How the name of its configuration ends.
    pub(crate) extension: &'static str,
    /// Those that name the socket.
    pub(crate) sockets: &'static [&'static str],
}
