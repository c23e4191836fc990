//! The part of the page about HTTP.

use crate::http_rates::{MAX_CODES_OF_NODE, MAX_ODD_CODES, MAX_PROCESSES};

/// What is counted, how, and what is not seen.
pub(super) fn section() -> String {
    format!(
        "\n## HTTP\n\n\
         Beside the metrics of the table there is one for each status code that was seen on the node: \
         `http_<code>_responses_per_second`, labelled `HTTP Resp <code>/Second`; the IDs, labels and \
         places are those of Scope's own HTTP Statistics plugin, which had them on processes. Requests and classes are told, with 0, \
         for as long as a process that has served lives, and its container and pod; a code with rate 0 \
         is left out, and `http_error_ratio` where nothing was answered. Metrics of what never was seen \
         on the node have no template.\n\n\
         * Rates are of the time between two readings, whatever it was. Containers and pods sum up what \
         their processes did in it, also those that ended before anybody saw them: the kernel notes \
         their cgroup. Those in cgroups that a container makes inside of its own are missing then.\n\
         * Requests are those seen, or the final responses if these are more, of each process since it \
         started: each final response answers a request. Final are all but 100 and 102 to 199.\n\
         * `http_error_ratio` is the share of 5xx; 4xx are the client's.\n\
         * Codes of IANA's registry have a figure of their own always, and the first {MAX_ODD_CODES} others that \
         the agent sees; a node of Scope's map tells of the {MAX_CODES_OF_NODE} that it sends most. All others are \
         in `OTHERS`, as is what has no code. `scope_agent_http_statistics_missing_total{{why=\"folded\"}}` counts those \
         that have one.\n\
         * At most {MAX_PROCESSES} processes of a node have figures of their own, those that are asked most \
         (`scope_agent_http_statistics_processes_left_out`); containers and pods have those of all.\n\
         * What is older than 15 s, since the kernel's counts could not be read, is absent.\n\n\
         The kernel's side is the first of these that works, and the plugin's description, `/readyz`, \
         the log, `scope_agent_http_statistics_mode_info` and `scope-agent report` say which it is, or why none is:\n\n\
         | mode | where | when |\n|---|---|---|\n\
         | `fexit` | the end of the socket layer's reads and writes | Linux with BTF, 5.14 or newer; on arm64 6.4 |\n\
         | `sys_exit` | the end of every system call of the node | where `fexit` is refused, only with `httpStatistics.allowSysExit`; Linux with BTF, 5.11 or newer, x86-64 |\n\n\
         Not seen, in any mode:\n\n\
         * what is inside of TLS, unless it ends in a process of the node that passes it on in plain text;\n\
         * HTTP/2, of which connections are counted by their preface (`http2_connections_per_second`), \
         and HTTP/3;\n\
         * responses that are sent wholly by `sendfile` or `splice`, or byte by byte (the request is counted);\n\
         * of a read that holds several requests, all but the first, and methods cut by the end of a \
         read: as long as they are answered, the responses make up for them.\n\n\
         A response body that begins a write with `HTTP/1.1 ` and a status counts as a response. The \
         mode `sys_exit` does not see io_uring, `recvmmsg`, `sendmmsg` and programs of 32 bits; where a \
         server reads by other calls and answers by these, only the first request of a connection is \
         counted.\n\n\
         A request counts once for each process that reads and answers it: with a proxy beside the server \
         in its pod, as a service mesh has, twice for the pod, and what the server asks of others through \
         that proxy counts for its pod too.\n\n\
         While more is served than the kernel has room to count (16,384 counters, which is told in the \
         plugin's description and by `scope_agent_http_statistics_missing_total{{why=\"lost\"}}`), there \
         is no share of errors. In the mode `fexit` the kernel keeps some 300 bytes for each connection on \
         which a request was read, until it is closed, and they count as the agent's memory: where a node \
         holds hundreds of thousands of connections, `resources.limits.memory` has to have room for them. \
         Loading the programs takes some 20 MiB for a moment.\n\
         \n\
         What counting costs the servers of a node is CPU of their own: in the mode `sys_exit`, nginx took 17 % more \
         for each request that it answered with 64 bytes (some 3 µs; 11 to 19 % in five rounds), and 6 % more for one \
         of 1 MiB, against the same load without (`cargo xtask bench http`, Linux 6.18, two cores). That mode looks at \
         the end of every system call of every process, so programs that call much and serve nothing pay too, which \
         is why it has to be asked for. The mode `fexit` runs only where something is read or sent. That \
         kernel does not take it, so it was measured in a virtual machine without hardware support, by instructions \
         and not by time (`cargo xtask bench http --in-vm --kernel 6.12`): nginx executed 4 % more for each request \
         answered with 64 bytes, and 6 % more for one of 1 MiB; with `sys_exit` there, 10 % and 9 %. \
         Instructions know nothing of caches: beside its times above, those of `sys_exit` say too little for small \
         answers and too much for large ones.\n"
    )
}
