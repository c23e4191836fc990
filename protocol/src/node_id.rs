//! Node IDs (`report/id.go`).
