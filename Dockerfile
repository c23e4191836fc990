# The two images of this project. They hold static binaries and nothing else, so there is no shell, no
# package and no library in them to keep patched. The binaries are built beforehand and expected in
# the build context under their own names; choose the image with --target.

FROM scratch AS operator
COPY scope-operator /scope-operator
# Started by its own Deployment, which names it as the command.
COPY scope-totals /scope-totals
# A number, since there is no /etc/passwd, and since the kubelet can verify runAsNonRoot only by number.
USER 65532:65532
ENTRYPOINT ["/scope-operator"]

FROM scratch AS agent
COPY scope-agent /scope-agent
# Root without capabilities: Scope's probe runs as root, and the sockets are open to their owner alone.
USER 0:0
ENTRYPOINT ["/scope-agent"]
