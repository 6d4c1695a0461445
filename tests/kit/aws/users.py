"""Prints the IAM users with the ids of their access keys, as JSON."""

import json

import boto3

iam = boto3.client("iam")
users = [user["UserName"] for page in iam.get_paginator("list_users").paginate() for user in page["Users"]]


def keys(user):
    pages = iam.get_paginator("list_access_keys").paginate(UserName=user)
    return sorted(key["AccessKeyId"] for page in pages for key in page["AccessKeyMetadata"])


found = {}
for user in users:
    try:
        found[user] = keys(user)
    except iam.exceptions.NoSuchEntityException:
        # Deleted since it was listed.
        pass
print(json.dumps(found))
