-- One row per package and version: the name alone comes twice for some packages.
SELECT
    package,
    version,
    summary,
    description
FROM packages
