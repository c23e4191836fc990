//! The part of the page about totals of controllers, Services and images.

/// What is shown of a controller, Service or image, of what, and what is not.
pub(super) fn section() -> &'static str {
    "\n## Totals of controllers, Services and images\n\n\
     With `--totals-dir` agents send what the pods of their node use, by controller, Service and image, to `scope-totals`, and \
     show what that is in the whole cluster: on Deployments, StatefulSets, DaemonSets, Jobs and CronJobs \
     with pods on the node, under the IDs and templates of pods. Number, scale and date are the same on \
     all nodes. Without it a controller has the metrics of its pod, if it has only one.\n\n\
     | ID | total | up to |\n|---|---|---|\n\
     | `docker_cpu_total_usage` | % of all CPUs of the nodes that its pods are on | 100 |\n\
     | `docker_memory_usage` | sum | the limits, if each pod has one; else the memory of these nodes |\n\
     | `cpu_millicores` | sum | all CPUs of these nodes |\n\
     | `rss` | sum | the memory of these nodes |\n\
     | `memory_limit_use` | memory in % of the limits, if each pod has one | 100 |\n\
     | `http_error_ratio` | 5xx in % of the responses of 200 to 599 | 100 |\n\
     | `threads`, `processes`, `open_files`, `network_rx`, `network_tx`, `disk_read`, `disk_write`, `block_io_delay`, `oom_kills`, \
     `http_requests_per_second`, `http_<code>_responses_per_second`, classes, `http_OTHERS_responses_per_second`, \
     `http2_connections_per_second` | sum | the value |\n\n\
     * The row `Pods counted` says of how many pods the figures are, and how many there are on nodes. A pod \
     counts once it was found and its CPU was measured, and no more when it has ended.\n\
     * What is not known of each pod that counts has no total. Nor has a controller while a node with a pod \
     of it has not reported for three intervals (18 s; more with over 2,000 nodes).\n\
     * Pressure, throttled periods, use of the CPU limit and fullest volume do not add up: they are told of \
     controllers with one pod only.\n\
     * A node whose reports take turns tells a total once in eight reports; of a controller with more than \
     twelve pods some of the nodes with its pods do, drawn by lot. Asked by anybody else, each tells all.\n\
     * A Service has CPU, memory, requests, classes of responses and the share of server errors, of the pods \
     of its namespace that its EndpointSlices name: ready or not, each once, whoever made the slices. When a pod joins or leaves, \
     the total is absent until the node of that pod has reported twice. Static pods are among those that there \
     are, and never counted. Names of Services and the pods below them are told by Scope's probe; where none \
     lists Services they have no names.\n\
     * An image has CPU and memory, of the containers that run it. Scope draws one node for all images of a name, \
     whatever their tag, and for several registries where two parts follow: they are added up, and each has the \
     total. A pod counts if each of its containers of the name was found and measured. Where one image goes by several \
     names, none of them has a total. Nor has one with a pod on a node whose agent is of a release before that. On \
     Docker nodes Scope's probe draws images, and they show what others tell.\n\
     * The date is that at which the service added up, by its clock.\n\
     * Jobs and CronJobs have totals where Scope is mended; a CronJob also where it has a button.\n\
     * HTTP is told of controllers whose pods have served since their agents started.\n\
     * What that costs an agent, by `cargo xtask bench exchange` beside an agent without, on a busy machine of \
     two CPUs with 2,000 processes in 110 pods of 28 Deployments: 0.3 ms of CPU a second while a probe asks every \
     second (-0.4 to 0.8 in three rounds; 0.1 to 0.2 of it for TLS, HTTP and JSON), and 0.8 MiB of resident \
     memory; with 110 Deployments, in one round, 0.7 ms and 0.9 MiB. While no probe asks any agent in the \
     cluster, all rest ([decision 27](decisions/0027-agents-rest-while-nobody-looks.md)) and look every 13.5 s instead of \
     every 15 s: some 0.5 ms a second (4.8 and 5.9 in a minute with four and with five looks). Where none asks this agent \
     and one does elsewhere, it was 5.9 ms a second more than 6.0 with a look every 5 s instead of every 15 s; it is \
     every 4 s now. A look without a report costs half of one with.\n"
}
