"""Uploads the page, the public files of `web/`, to the bucket of the deployment."""

import json
from pathlib import Path
from uuid import uuid4

from dev import page
from infra.deployment import ROOT, Deployment

_FOLDER = ROOT / "web"


def upload(deployment: Deployment, bucket: str, distribution: str, folder: Path = _FOLDER) -> int:
    """Uploads the files, then deletes other files in the bucket, then clears CloudFront's caches. Returns the
    number of files."""
    s3 = deployment.client("s3")
    files = page.files(folder)
    headers = json.loads((folder / "headers.json").read_text("utf-8"))
    for key, path in files.items():
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=path.read_bytes(),
            ContentType=page.TYPES[path.suffix],
            CacheControl=headers["Cache-Control"],
        )
    for listed in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in listed.get("Contents", []):
            if entry["Key"] not in files:
                s3.delete_object(Bucket=bucket, Key=entry["Key"])
    deployment.client("cloudfront").create_invalidation(
        DistributionId=distribution,
        InvalidationBatch={"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": str(uuid4())},
    )
    return len(files)
