//! The actions that a person can click in Scope.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TargetKind;

/// An action that a person can click in Scope.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Control {
    /// Delete exactly the pod that was clicked.
    DeletePod,
    /// End the first process of the container that was clicked, so that the kubelet starts it again.
    RestartContainer,
    /// Stop all processes of the container that was clicked, for a while.
    FreezeContainer,
    /// Let the processes of a frozen container go on.
    ThawContainer,
    /// Delay, drop or slow down what leaves the pod of the container that was clicked, for a while.
    ShapeTraffic,
    /// Delete the pod that was clicked as far as disruption budgets allow it.
    EvictPod,
    /// Replace the pods of the controller that was clicked, in its own rolling way.
    RestartRollout,
    /// One replica more.
    ScaleUp,
    /// One replica less.
    ScaleDown,
    /// Let changes of the Deployment that was clicked wait.
    PauseRollout,
    /// Roll out what waits.
    ResumeRollout,
    /// Let the CronJob that was clicked make no further Jobs.
    SuspendCronJob,
    /// Let it make Jobs again.
    ResumeCronJob,
    /// Make a Job of the CronJob that was clicked now.
    TriggerCronJob,
    /// Keep new pods off the node that was clicked.
    CordonNode,
    /// Let new pods come to it again.
    UncordonNode,
}

impl Control {
    /// Every control that this version knows.
    pub const ALL: [Self; 16] = [
        Self::DeletePod,
        Self::RestartContainer,
        Self::FreezeContainer,
        Self::ThawContainer,
        Self::ShapeTraffic,
        Self::EvictPod,
        Self::RestartRollout,
        Self::ScaleUp,
        Self::ScaleDown,
        Self::PauseRollout,
        Self::ResumeRollout,
        Self::SuspendCronJob,
        Self::ResumeCronJob,
        Self::TriggerCronJob,
        Self::CordonNode,
        Self::UncordonNode,
    ];

    /// Whether an agent carries it out itself, on containers of its own node. The operator carries
    /// out all others.
    pub const fn is_node_local(self) -> bool {
        matches!(
            self,
            Self::RestartContainer
                | Self::FreezeContainer
                | Self::ThawContainer
                | Self::ShapeTraffic
        )
    }

    /// The kinds of object that a [`ScopeAction`](crate::ScopeAction) with it may name: of what is done to
    /// a container, its pod.
    pub const fn kinds(self) -> &'static [TargetKind] {
        use TargetKind::{CronJob, DaemonSet, Deployment, Node, Pod, StatefulSet};
        match self {
            Self::DeletePod
            | Self::EvictPod
            | Self::RestartContainer
            | Self::FreezeContainer
            | Self::ThawContainer
            | Self::ShapeTraffic => &[Pod],
            Self::RestartRollout => &[Deployment, StatefulSet, DaemonSet],
            Self::ScaleUp | Self::ScaleDown => &[Deployment, StatefulSet],
            Self::PauseRollout | Self::ResumeRollout => &[Deployment],
            Self::SuspendCronJob | Self::ResumeCronJob | Self::TriggerCronJob => &[CronJob],
            Self::CordonNode | Self::UncordonNode => &[Node],
        }
    }

    /// Its name in a ScopePlugin.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeletePod => "DeletePod",
            Self::RestartContainer => "RestartContainer",
            Self::FreezeContainer => "FreezeContainer",
            Self::ThawContainer => "ThawContainer",
            Self::ShapeTraffic => "ShapeTraffic",
            Self::EvictPod => "EvictPod",
            Self::RestartRollout => "RestartRollout",
            Self::ScaleUp => "ScaleUp",
            Self::ScaleDown => "ScaleDown",
            Self::PauseRollout => "PauseRollout",
            Self::ResumeRollout => "ResumeRollout",
            Self::SuspendCronJob => "SuspendCronJob",
            Self::ResumeCronJob => "ResumeCronJob",
            Self::TriggerCronJob => "TriggerCronJob",
            Self::CordonNode => "CordonNode",
            Self::UncordonNode => "UncordonNode",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Control {
    type Err = UnknownControl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|control| control.as_str() == text)
            .ok_or_else(|| UnknownControl(text.to_owned()))
    }
}

/// The name of a control that this version does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an action; the known ones are: {known}", known = Control::ALL.map(Control::as_str).join(", "))]
pub struct UnknownControl(pub String);
