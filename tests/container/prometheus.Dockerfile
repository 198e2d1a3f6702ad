# Debian's Prometheus in the shape of the project's own image, for machines that reach no registry
# checkov:skip=CKV_DOCKER_7:the argument has a tag
# checkov:skip=CKV_DOCKER_2:the Compose file has the health check
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY prometheus promtool /bin/
RUN install --directory --owner=65534 /prometheus
USER 65534
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
