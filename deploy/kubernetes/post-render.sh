#!/bin/sh
# A post-renderer of Helm 3: reads the manifests of the chart frappe/erpnext, and writes them with the command of this server.
# Needs kubectl.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$(dirname "$0")/kustomization.yaml" "$folder"
cat > "$folder/chart.yaml"
kubectl kustomize "$folder"
