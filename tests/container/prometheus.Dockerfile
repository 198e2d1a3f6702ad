# Debian's Prometheus in the shape of the project's own image, for machines that reach no registry
# checkov:skip=CKV_DOCKER_7:the tag is in the argument
# checkov:skip=CKV_DOCKER_2:the Compose file has the health check, for every image of Prometheus
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY prometheus promtool /bin/
RUN install --directory --owner=65534 /prometheus
USER 65534
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
