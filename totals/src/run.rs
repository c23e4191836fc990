//! `scope-totals run`: wires the parts, starts them in order, and ends when told to or when one of them does.
//!
//! # Rights
//!
//! Every request of this command, by scope. The chart grants these and no others.
//!
//! | where | group | resource | verbs | for |
//! | --- | --- | --- | --- | --- |
//! | cluster | core | pods, nodes | list, watch | which pods there are, where and whose ([`crate::census`]); nodes by their metadata |
//! | cluster | core | namespaces | list, watch | their UIDs, by metadata |
//! | cluster | apps | replicasets | list, watch | the Deployments of ReplicaSets, by metadata |
//! | cluster | apps | deployments, statefulsets, daemonsets | list, watch | which have no pods, by metadata |
//! | cluster | batch | jobs | list, watch | the CronJobs of Jobs, by metadata |
//! | cluster | batch | cronjobs | list, watch | which have no pods, by metadata |
//! | cluster | discovery.k8s.io | endpointslices | list, watch | which pods belong to which Services; and its own, by which the active replica is found ([`crate::publish`]) |
//! | cluster | core | services | list, watch | their UIDs, by metadata; and the own one's address, for agents |
//! | cluster | authentication.k8s.io | tokenreviews | create | who speaks ([`crate::trust`]) and who asks ([`crate::top`]) |
//! | cluster | authorization.k8s.io | subjectaccessreviews | create | what those may see who ask, with `--top` ([`crate::top`]) |
//! | own namespace | coordination.k8s.io | leases, the one of the service | get, list, watch, patch | which replica is active |
//! | own namespace | discovery.k8s.io | endpointslices | create | the address of the active replica ([`crate::publish`]) |
//! | own namespace | discovery.k8s.io | endpointslices, those of the service | patch | the same |
//! | own namespace | discovery.k8s.io | endpointslices, those of the service | delete | not done, but some API servers ask for it of whoever gives an object an owner |
//! | own namespace | discovery.k8s.io | endpointslices/restricted | create | not done, but OpenShift asks for it of whoever publishes addresses of pods |
//! | own namespace | core | endpoints | create | the same address for the API server's proxy, with `--top` ([`crate::publish`]) |
//! | own namespace | core | endpoints, those of the service | list, watch, patch | the same |
//! | own namespace | core | endpoints/restricted | create | as above, for OpenShift |
//! | own namespace | core | secrets, the one of the authorities | list, watch, patch | the own authorities ([`crate::tls`]) |
//! | plugins' namespace | core | configmaps, the one of the authorities | get, patch | whom agents trust, and where they find the service |

use std::{net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{self, Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::Api;
use rustix::process::{Resource, getrlimit, setrlimit};
use scope_leader::{self as leader, Elector, Timing, Witness};
use scope_process::{
    clients::Clients,
    exit::{Code, Failure},
    http,
    parts::{Parts, listen, until},
    signals, watches,
};
use tokio_util::sync::CancellationToken;

use crate::{
    census::watch::{self, Shared},
    cli::Process,
    exchange::{Exchange, People},
    http::Answers,
    metrics::Metrics,
    publish::{Address, Bundle, Endpoints, Proxied, Writes, reach},
    readiness::Readiness,
    rounds,
    serve::{self, Seats},
    tls::{self, Certificates, Given, Own},
    top::Guard,
    trust::{Accounts, Tokens},
};

/// Free 12 s after the last renewal, so that another replica serves within 20 s of a kill. Renewed every 4 s,
/// with 8 s left for retries.
const LEASE: Timing = Timing {
    duration_seconds: 12,
    grace_seconds: 8,
};
/// After a signal the Lease is given up in this time.
const RELEASE: Duration = Duration::from_secs(6);
/// And what was begun is finished in this time.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs until a signal, or until a part of it ends.
pub async fn run(process: Process) -> Result<(), Failure> {
    // The Lease is given up at the signal, and the ports are closed after that: until then agents hear that
    // another replica serves.
    let stop = signals::stop()?;
    let after = CancellationToken::new();
    allow_connections();

    let metrics = Arc::new(Metrics::new());
    let census = Shared::default();
    let certificates = Arc::new(Certificates::default());
    let readiness = Arc::new(Readiness::new(
        Arc::clone(&census),
        Arc::clone(&certificates),
    ));
    let (claim_writer, claim) = leader::claim();
    let seats = Seats::new(serve::PLACES);
    let mut parts = Parts::of("service");
    let mut election = Parts::of("service");

    let listener = listen("--listen", process.listen).await?;
    let http_listener = listen("--http-listen", process.http_listen).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pod = process.pod_name,
        listen = %process.listen,
        http_listen = %process.http_listen,
        plugins_namespace = process.plugins_namespace,
        "starting"
    );
    let answers = Answers {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        claim: claim.clone(),
        agents: Arc::clone(&seats),
    };
    parts.start(
        "the HTTP server",
        http::serve(http_listener, answers, after.clone()),
    );

    let clients = Clients::new().await?;
    let (watch_client, namespace) = (clients.watch, process.namespace);
    let leases = watches::one::<Lease, _>(
        Api::namespaced(watch_client.clone(), &namespace),
        &process.lease_name,
        "Lease",
        Arc::clone(&metrics),
    );
    let elector = Elector {
        namespace: namespace.clone(),
        lease_name: process.lease_name.clone(),
        identity: leader::identity(&process.pod_name),
        timing: LEASE,
        client: clients.lease.clone(),
        witness: Arc::new(Told {
            metrics: Arc::clone(&metrics),
            readiness,
        }),
    };
    let give_up = stop.clone();
    election.start("leader election", async move {
        elector.run(leases, claim_writer, give_up).await;
    });

    let follow = watch::follow(
        watch_client.clone(),
        Arc::clone(&census),
        Arc::clone(&metrics),
    );
    parts.start("the census", until(&after, follow));

    let services = watches::one::<Service, _>(
        Api::namespaced(watch_client.clone(), &namespace),
        &process.service_name,
        "Service",
        Arc::clone(&metrics),
    );
    let (known, reached) = tokio::sync::watch::channel(None);
    let name = tls::name(&process.service_name, &namespace);
    let follow = reach::follow(services, name, known);
    parts.start("the look at the Service", until(&after, follow));

    let writes = Writes::new(claim.clone(), Arc::clone(&metrics));
    let bundle = Bundle::new(
        Api::namespaced(clients.act.clone(), &process.plugins_namespace),
        process.config_map_name.clone(),
        reached.clone(),
        writes.clone(),
    );
    if let Some(directory) = process.tls_directory.clone() {
        let given = Given {
            directory,
            certificates: Arc::clone(&certificates),
            bundle,
            metrics: Arc::clone(&metrics),
        };
        parts.start("the look at the certificate", until(&after, given.run()));
    } else {
        let secrets = watches::one::<Secret, _>(
            Api::namespaced(watch_client.clone(), &namespace),
            &process.secret_name,
            "Secret",
            Arc::clone(&metrics),
        );
        let own = Own {
            secrets: Api::namespaced(clients.act.clone(), &namespace),
            secret: process.secret_name.clone(),
            names: tls::names(&process.service_name, &namespace),
            lives: process.lives,
            certificates: Arc::clone(&certificates),
            bundle,
            writes: writes.clone(),
            metrics: Arc::clone(&metrics),
        };
        parts.start("the certificate authority", until(&after, own.run(secrets)));
    }

    let address = Address {
        namespace: namespace.clone(),
        service: process.service_name.clone(),
        pod: process.pod_name.clone(),
        socket: SocketAddr::new(process.pod_ip, process.listen.port()),
    };
    let slices = watches::one::<EndpointSlice, _>(
        Api::namespaced(watch_client.clone(), &namespace),
        &address.slice(),
        "EndpointSlice",
        Arc::clone(&metrics),
    );
    let people = process
        .top
        .then(|| People::new(Guard::new(clients.act.clone(), Arc::clone(&metrics))));
    if process.top {
        let endpoints: Api<v1::Endpoints> = Api::namespaced(clients.act.clone(), &namespace);
        let seen = watches::one::<v1::Endpoints, _>(
            Api::namespaced(watch_client, &namespace),
            &address.service,
            "Endpoints",
            Arc::clone(&metrics),
        );
        let proxied = Proxied {
            endpoints,
            address: address.clone(),
            reach: reached.clone(),
            writes: writes.clone(),
        };
        parts.start(
            "the publication of the address for the proxy",
            until(&after, proxied.run(seen)),
        );
    }
    let endpoints = Endpoints {
        slices: Api::namespaced(clients.act.clone(), &namespace),
        address,
        reach: reached,
        writes,
    };
    parts.start(
        "the publication of the address",
        until(&after, endpoints.run(slices)),
    );

    let accounts = Accounts {
        plugins_namespace: process.plugins_namespace,
        namespace,
        operator: process.operator_account,
    };
    let tokens = Tokens::new(clients.act, accounts, Arc::clone(&metrics));
    let exchange = Exchange::new(claim, tokens, people, census, Arc::clone(&metrics));
    let run = rounds::run(Arc::clone(&exchange));
    parts.start("the rounds", until(&after, run));
    let tls = tls::server(certificates)
        .map_err(|error| Failure::new(Code::Software, format!("TLS cannot be set up: {error}")))?;
    parts.start(
        "the exchange",
        serve::serve(
            listener,
            tls,
            exchange.router(),
            seats,
            metrics,
            after.clone(),
        ),
    );

    let ended = tokio::select! {
        () = stop.cancelled() => None,
        ended = parts.first_end() => Some(ended),
        ended = election.first_end() => Some(ended),
    };
    stop.cancel();
    election.drain(RELEASE).await;
    after.cancel();
    parts.drain(DRAIN).await;
    match ended {
        // The signal may have ended a part before it was seen here.
        Some(failure) if !signals::received() => Err(failure),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Every agent keeps a connection, and a process may have 1,024 of them unless it asks for more.
fn allow_connections() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(
            "the limit of open files stays at {:?}, and each agent takes one: {error}",
            limit.current
        );
    }
}

/// Who is told of the Lease.
struct Told {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

impl Witness for Told {
    fn lease_seen(&self) {
        self.readiness.lease_seen();
    }

    fn term_began(&self) {
        self.metrics.term_began();
    }
}
