//! The rules, each with its stable ID, its severity and its remedy.

use std::fmt;

/// What breaking a rule costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Scope takes the answer and shows something else than was meant, or nothing.
    ShowsWrong,
    /// Scope drops the whole answer, or cannot be relied on to read it.
    Rejects,
    /// Scope takes the answer and breaks: the probe dies, or a view of the app does for everybody.
    Breaks,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::ShowsWrong => "shows wrong",
            Severity::Rejects => "rejects",
            Severity::Breaks => "breaks",
        })
    }
}

macro_rules! rules {
    ($($rule:ident $id:literal $severity:ident $what:literal $remedy:literal;)*) => {
        /// A rule of the plugin protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $what] $rule,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$rule,)*];

            /// Its ID, which stays the same for good.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$rule => $id,)* }
            }

            /// What breaking it costs.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$rule => Severity::$severity,)* }
            }

            /// What to do about it, as a sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Rule::$rule => $remedy,)* }
            }
        }
    };
}

rules! {
    // The socket and the exchange.
    SocketName "socket-name" Rejects
        "The socket's base name without its last extension is a valid plugin ID."
        "Name the socket with letters, digits and single inner dashes, such as my-plugin.sock.";
    NoAnswer "no-answer" Rejects
        "The plugin answers."
        "Serve HTTP on the socket, and remove the socket when the plugin ends.";
    Deadline "deadline" Rejects
        "The whole answer arrives within 500 ms."
        "Answer from data that is ready, and do slow work outside the request.";
    HttpStatus "http-status" Rejects
        "The status code is exactly 200, for failed controls too."
        "Answer with 200; tell a failed control by `error` in the body.";
    BodyIncomplete "body-incomplete" Rejects
        "The body is as long as the answer's head promised."
        "Send the length that the body has, and do not close the connection before its end.";
    BodyTooLarge "body-too-large" Rejects
        "The body has at most 50 MiB after decompression."
        "Report fewer nodes, metrics and samples.";
    BodyDecodeTime "body-decode-time" Rejects
        "The probe can decode the body within its 500 ms."
        "Report fewer nodes, metrics and samples: the probe needs about 19 ms for a megabyte.";
    BodyLarge "body-large" ShowsWrong
        "The body is small enough not to slow the probe down."
        "Report fewer nodes, metrics and samples, and one sample for each metric.";

    // JSON as the probe reads it.
    JsonSyntax "json-syntax" Rejects
        "The body is JSON."
        "Write the body with a JSON encoder.";
    ValueType "value-type" Rejects
        "A value has the type that Scope reads."
        "Write a value of the type that the protocol names for this key.";
    Integer "integer" Rejects
        "An integer is written as an integer literal."
        "Write whole numbers without fraction and exponent, within 64 bits.";
    Number "number" Rejects
        "A number is one that a double holds."
        "Write a finite decimal number, and leave the value out where there is none.";
    Time "time" Rejects
        "A time is RFC 3339 as Go reads it."
        "Write times as 2006-01-02T15:04:05.999999Z or with an offset such as +01:00, never both.";
    JsonLenient "json-lenient" ShowsWrong
        "What passes is JSON for other readers, too."
        "Write the body with a JSON encoder.";
    JsonEndless "json-endless" Breaks
        "The body does not end behind a comma of a list of texts."
        "Send the whole body: the probe reads this comma again until its memory is used up.";
    JsonDepth "json-depth" Breaks
        "Values are not nested deeper than the probe's stack allows."
        "Leave out what Scope does not know; no part of a report is nested deeper than ten levels.";
    DuplicateKey "duplicate-key" ShowsWrong
        "An object has each key once."
        "Write each key once: of two values the last one stays.";
    KeyCase "key-case" ShowsWrong
        "Keys are written in their exact case."
        "Write the key as the protocol does.";
    KeyName "key-name" ShowsWrong
        "Keys are written as the protocol names them."
        "Write the key as the protocol does.";
    NullValue "null-value" ShowsWrong
        "A number or an entry is not `null`."
        "Leave the key out: `null` is read as zero.";
    NotFinite "not-finite" ShowsWrong
        "A number is finite."
        "Leave the value out: the app hands NaN and infinity to the browser as invalid JSON.";

    // `Plugins`.
    PluginsMissing "plugins-missing" Rejects
        "The report contains a plugin."
        "Send `Plugins` as an array with exactly one plugin.";
    PluginsMany "plugins-many" Rejects
        "The report contains no second plugin."
        "Send `Plugins` as an array with exactly one plugin; serve others on sockets of their own.";
    PluginRepeated "plugin-repeated" ShowsWrong
        "The plugin is listed once."
        "Send `Plugins` as an array with exactly one plugin: of two with one ID the last one counts.";
    PluginId "plugin-id" Rejects
        "The plugin's ID is that of its socket."
        "Set `id` to the socket's base name without its last extension.";
    ApiVersion "api-version" Rejects
        "`api_version` is \"1\"."
        "Set `api_version` to \"1\".";
    Label "label" Rejects
        "The plugin has a label."
        "Set `label` to the text that Scope's list of plugins shall show.";
    Interfaces "interfaces" Rejects
        "The plugin implements `reporter`."
        "List \"reporter\" in `interfaces`; every plugin is one.";
    InterfaceUnknown "interface-unknown" ShowsWrong
        "Interfaces are ones that Scope knows."
        "List \"reporter\" and, for a plugin with controls, \"controller\"; Scope ignores others.";

    // The report as a whole.
    TopLevelNodes "top-level-nodes" ShowsWrong
        "There is no top-level `nodes`."
        "Move the nodes into their topology: at the top level Scope takes them for DNS records.";
    AddedUp "added-up" ShowsWrong
        "`Window` and `Sampling` are left out."
        "Leave the key out: the probe adds up what all reports say.";

    // Nodes.
    NodeId "node-id" ShowsWrong
        "A node has an `id`."
        "Set `id` in each node to its key: a node without one can get a nameless twin.";
    NodeIdDiffers "node-id-differs" ShowsWrong
        "A node's `id` is its key."
        "Set `id` in each node to its key: Scope merges by the one and shows by the other.";
    NodeKey "node-key" ShowsWrong
        "A node's key has the form of its topology's IDs."
        "Write the ID as Scope's own probe does, or it is another node than the one that is meant.";
    NodeTopology "node-topology" ShowsWrong
        "A node does not claim another topology."
        "Leave `topology` out: if another reporter says otherwise for this node, the probe panics.";
    TimeMissing "time-missing" ShowsWrong
        "A value or sample has a time."
        "Stamp it with the time it was taken: without one it is from year 1 and loses to all others.";
    SetOrder "set-order" ShowsWrong
        "Members of a set are sorted by bytes and unique."
        "Sort the members and drop repeated ones: Scope merges sets as sorted lists.";
    ParentTopology "parent-topology" ShowsWrong
        "Parents are listed by names of topologies."
        "Use the topology's name, such as `pod` or `daemon_set`, as the key.";
    ParentId "parent-id" ShowsWrong
        "A parent's ID has the form of its topology's IDs."
        "Write the parent's ID as the key of its node is written.";
    AdjacencyTopology "adjacency-topology" ShowsWrong
        "Only endpoints and overlay peers are adjacent to one another."
        "Leave `adjacency` out of this topology.";
    CounterName "counter-name" ShowsWrong
        "No counter is named like its node's own topology."
        "Rename the counter: Scope takes the node for a group and hides its metrics and tables.";
    Children "children" ShowsWrong
        "`children` are left to the app."
        "Report the nodes in their own topology, and name this one in their `parents`.";
    NodeControls "node-controls" ShowsWrong
        "Nodes have no `controls`."
        "Name active controls in `latestControls`, and describe them in the topology's `controls`.";
    ControllerNodes "controller-nodes" ShowsWrong
        "A controller lists no nodes."
        "Report the nodes from a second socket without `controller`: the probe rewrites the active \
         controls of each node of a controller, which takes Scope's own buttons away.";

    // Controls.
    ControlId "control-id" ShowsWrong
        "A control's ID survives in a URL."
        "Use only A-Z, a-z, 0-9, _ and - in IDs of controls: the UI puts them into a URL unescaped.";
    ControlKey "control-key" ShowsWrong
        "A control's inner `id` is its key."
        "Set `id` to the control's key: the key alone counts.";
    ControlInterface "control-interface" ShowsWrong
        "A plugin with controls is a controller."
        "List \"controller\" in `interfaces`: without it a click is answered with `not recognised`.";

    // Metrics.
    MetricTemplate "metric-template" ShowsWrong
        "A metric has a template in its topology."
        "Add a metric template whose inner `id` is the metric's ID to the node's topology.";
    MetricEmpty "metric-empty" ShowsWrong
        "A metric has a sample."
        "Leave the metric out while there is no sample.";
    SampleOrder "sample-order" ShowsWrong
        "Samples ascend in time."
        "Sort the samples by `date`, each with one of its own: Scope shows the last one.";
    MetricMax "metric-max" ShowsWrong
        "`max` is above 0 and not below any sample."
        "Set `max` to the end of the scale, or to the highest sample: Scope fills nodes by value/max.";

    // Templates.
    TemplateKey "template-key" ShowsWrong
        "A template's inner `id` is its key."
        "Set `id` to the template's key: Scope merges by the one and looks up by the other.";
    MetricFormat "metric-format" ShowsWrong
        "A metric's format is one that the UI knows."
        "Use \"\", filesize, integer or percent; the UI writes all others as plain numbers.";
    DataType "data-type" ShowsWrong
        "A data type is one that the UI knows."
        "Use \"\", number, ip, datetime, duration or link; the UI writes all others as text.";
    TemplateFrom "template-from" ShowsWrong
        "`from` is one that Scope knows."
        "Use latest, sets or counters; with all others Scope tries the three.";
    Priority "priority" ShowsWrong
        "A metadata row is not hidden."
        "Use a priority above 0 and below 10; the UI hides all others behind \"show more\".";
    TablePrefix "table-prefix" ShowsWrong
        "A table has a prefix."
        "Set `prefix` to what the keys of the table's rows begin with; an empty one matches nothing.";
    TableType "table-type" ShowsWrong
        "A table's type is one that Scope knows."
        "Use property-list or multicolumn-table; Scope takes all others for the first.";
    TableKey "table-key" Breaks
        "Each `latest` key with the prefix of a multi-column table has the form of its cells."
        "Name the key prefix + row + ___ + column, or change the prefix: as it is, each view with \
         this node fails for everybody.";

    // The answer to a control.
    ShortcutPlugins "shortcut-plugins" Breaks
        "A shortcut report contains the plugin."
        "Send the same `Plugins` in `shortcutReport` as in reports: without it the probe panics.";
    ShortcutId "shortcut-id" ShowsWrong
        "A shortcut report is the plugin's own."
        "Send the same `Plugins` in `shortcutReport` as in reports: its controls go to that ID.";
    ShortcutControls "shortcut-controls" ShowsWrong
        "A shortcut report lists all controls of the plugin."
        "List the `controls` of all topologies: those left out are gone until the next report.";
    ControlPipe "control-pipe" ShowsWrong
        "The answer names no pipe."
        "Leave `pipe`, `raw_tty` and `resize_tty_control` out: only a probe can make a pipe.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
