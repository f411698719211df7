CREATE TABLE IF NOT EXISTS packages (
    package            text NOT NULL,
    version            text NOT NULL,
    section            text NOT NULL,
    priority           text,
    installed_size_kib bigint,
    homepage           text,
    tags               text,
    summary            text NOT NULL,
    description        text NOT NULL,
    summary_ja         text,
    description_ja     text,
    summary_vi         text,
    description_vi     text,
    PRIMARY KEY (package, version)
);
