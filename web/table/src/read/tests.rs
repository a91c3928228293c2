//! Tests with realistic files.

use std::sync::Arc;

use ::parquet::basic::{Compression, GzipLevel, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

fn read_as(opening: &Opening, bytes: &[u8], piece: usize) -> Result<Table, Error> {
    let mut reader = Reader::open(opening)?;
    bytes.chunks(piece).for_each(|piece| reader.push(piece));
    reader.finish()
}

/// Reads a file, and checks that the table does not depend on how its bytes are split.
fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Table, Error> {
    let opening = Opening {
        name: name.into(),
        ..Opening::default()
    };
    let whole = read_as(&opening, bytes.as_ref(), usize::MAX);
    for piece in [1, 2, 7] {
        assert_eq!(
            read_as(&opening, bytes.as_ref(), piece),
            whole,
            "pieces of {piece}"
        );
    }
    whole
}

fn names(table: &Table) -> Vec<&str> {
    table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect()
}

fn cells(table: &Table) -> Vec<Vec<String>> {
    (0..table.rows)
        .map(|row| {
            table
                .columns
                .iter()
                .map(|column| column.text(row).into_owned())
                .collect()
        })
        .collect()
}

#[test]
fn csv_with_all_that_stands_within_quotes() {
    let csv = "\u{feff}id,review,star\r\n1,\"good, but \"\"slow\"\"\",4\r\n2,\"two\r\nlines 😍\",5\r\n3,,1\r\n4,last,2";
    let table = read("reviews.CSV", csv).unwrap();
    assert_eq!(names(&table), ["id", "review", "star"]);
    assert_eq!(
        cells(&table),
        [
            ["1", "good, but \"slow\"", "4"],
            ["2", "two\r\nlines 😍", "5"],
            ["3", "", "1"],
            ["4", "last", "2"]
        ]
    );
    assert_eq!(
        (
            table.encoding,
            table.has_mark,
            table.separator,
            table.header
        ),
        (Encoding::Utf8, true, Some(','), Some(true))
    );
    assert_eq!(table.problems, []);
}

#[test]
fn separators_are_found_out() {
    assert_eq!(
        cells(&read("a.csv", "review;star\n\"a, b; c\";5\n").unwrap()),
        [["a, b; c", "5"]]
    );
    assert_eq!(
        cells(&read("a.csv", "\"a,,,,\";b\nx;y\n").unwrap()),
        [["x", "y"]],
        "what is quoted does not count"
    );
    let table = read("a.tsv", "review\tstar\na, b; c\t5\n").unwrap();
    assert_eq!(
        (cells(&table), table.separator),
        (vec![vec!["a, b; c".to_string(), "5".into()]], Some('\t'))
    );
}

#[test]
fn rows_of_another_length_are_kept_and_told() {
    let table = read(
        "a.csv",
        "review,star,app\ngood,5,x\nbad\nsplit, here,1,x\nfine,4,y\nso,so,1,2,3\n",
    )
    .unwrap();
    assert_eq!(names(&table), ["review", "star", "app", "(surplus)"]);
    assert_eq!(
        cells(&table),
        [
            ["good", "5", "x", ""],
            ["bad", "", "", ""],
            ["split", " here", "1", "x"],
            ["fine", "4", "y", ""],
            ["so", "so", "1", "2,3"]
        ]
    );
    let problem = |fault, count, first: &[usize]| Problem {
        fault,
        count,
        first: first.to_vec(),
    };
    assert_eq!(
        table.problems,
        [
            problem(Fault::TooFew(1, 3), 1, &[2]),
            problem(Fault::TooMany(4, 3), 2, &[3, 5])
        ]
    );

    let many = format!("review,star\n{}", "alone\n".repeat(9));
    assert_eq!(
        read("a.csv", many).unwrap().problems,
        [problem(Fault::TooFew(1, 2), 9, &[1, 2, 3, 4, 5])]
    );

    let open = format!(
        "review,star\ngood,5\n\"never closed,1\n{}",
        "more,2\n".repeat(1500)
    );
    let table = read("a.csv", &open).unwrap();
    assert_eq!(
        (table.rows, &table.problems[1]),
        (2, &problem(Fault::Unclosed, 1, &[2]))
    );
    let closed = read("a.csv", format!("{open}\",3\nfine,4\n")).unwrap();
    assert_eq!(
        (closed.rows, &closed.problems[..]),
        (3, &[problem(Fault::Endless, 1, &[2])][..])
    );
    for (csv, last) in [
        ("review,star\nfine,5\nbad,\"1", "1"),
        ("review,star\nfine,5\nbad,\"1\n\n", "1\n\n"),
        ("review,star\nfine,5\nbad,\"", ""),
    ] {
        let table = read("a.csv", csv).unwrap();
        assert_eq!(
            (table.columns[1].text(1).as_ref(), &table.problems[..]),
            (last, &[problem(Fault::Unclosed, 1, &[2])][..]),
            "{csv}"
        );
    }
    assert_eq!(
        read("a.csv", "review,star\nbad,\"the \"\"end\"\"\"")
            .unwrap()
            .problems,
        []
    );
}

#[test]
fn json_that_cannot_be_read_is_told_and_the_last_of_two_values_counts() {
    let lines = [
        r#"{"review":"nice \ud83d","star":5}"#,
        r#"{"review":"far","star":1e999}"#,
        r#"{"review":"fine \"é\" \ud83d\ude0d","review":"twice 😍","star":-1}"#,
    ];
    let table = read("a.jsonl", lines.join("\n")).unwrap();
    assert_eq!(cells(&table), [["twice 😍", "-1"]]);
    assert_eq!(
        (
            table.problems[0].count,
            &table.problems[0].first[..],
            &table.lines[..]
        ),
        (2, &[1, 2][..], &[3][..])
    );
}

#[test]
fn rows_know_the_line_in_which_they_begin() {
    for break_ in ["\n", "\r\n"] {
        let csv = [
            "review,star",
            "",
            "good,5",
            "\"two",
            "lines\",1",
            "",
            "",
            "last,2",
        ]
        .join(break_);
        for csv in [csv.clone(), csv + break_] {
            assert_eq!(read("a.csv", &csv).unwrap().lines, [3, 4, 8], "{csv:?}");
        }
    }
    assert_eq!(
        read("a.jsonl", "\n{\"review\":\"good\"}\n\n{\"review\":\"bad\"}")
            .unwrap()
            .lines,
        [2, 4]
    );
    assert_eq!(read("a.txt", "good\n\nbad\n").unwrap().lines, [1, 3]);
}

#[test]
fn rows_may_be_taken_as_they_come() {
    let csv: String = "review,star\n".to_string()
        + &(0..20_000)
            .map(|i| format!("review number {i},{}\n", 1 + i % 5))
            .collect::<String>();
    let json: String = (0..20_000)
        .map(|i| {
            format!(
                "{{\"review\":\"review number {i}\",\"star\":{}}}\n",
                1 + i % 5
            )
        })
        .collect();
    for (ending, text) in [("csv", csv), ("jsonl", json)] {
        let whole = read_as(
            &Opening {
                name: format!("a.{ending}"),
                ..Opening::default()
            },
            text.as_bytes(),
            usize::MAX,
        )
        .unwrap();
        let mut reader = TextReader::open(ending, None).unwrap();
        let (mut rows, mut lines, mut tables) = (Vec::new(), Vec::new(), 0);
        let mut take = |reader: &mut TextReader| {
            let table = reader.take();
            rows.extend(cells(&table));
            lines.extend(table.lines);
            tables += 1;
        };
        for piece in text.as_bytes().chunks(1 << 12) {
            reader.push(piece);
            if reader.rows() >= 1000 {
                take(&mut reader);
            }
        }
        reader.end();
        take(&mut reader);
        assert!(tables > 5, "{tables}");
        assert_eq!((rows, lines), (cells(&whole), whole.lines), "{ending}");
    }
}

#[test]
fn a_header_is_told_from_a_row() {
    for (csv, header) in [
        ("review,star\na,5\n", true),
        (",review,rating\n0,a,5\n", true),
        ("Love this app so very much,5\nbad,1\n", false),
        ("good,5\nbad,1\n", false),
        ("app,words\nx,y\n", true),
        ("It crashes all the time\nLove it\n", false),
        ("words\nLove it\n", true),
    ] {
        let table = read("a.csv", csv).unwrap();
        assert_eq!(
            (table.header, table.rows),
            (Some(header), csv.lines().count() - usize::from(header)),
            "{csv}"
        );
    }
    let table = read("a.csv", "good,5\nbad,1\n").unwrap();
    assert_eq!(names(&table), ["column 1", "column 2"]);
    // The caller can override the detection.
    let opening = Opening {
        name: "a.csv".into(),
        header: Some(false),
        ..Opening::default()
    };
    assert_eq!(read_as(&opening, b"review,star\na,5\n", 3).unwrap().rows, 2);
}

#[test]
fn other_encodings_are_read() {
    let text = "review,star\n\"Très bon, 5 €\",5\nplain,1\n";
    let utf16: Vec<u8> = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let latin: Vec<u8> = text
        .chars()
        .map(|c| if c == '€' { 0x80 } else { c as u8 })
        .collect();
    for (bytes, encoding) in [(utf16, Encoding::Utf16), (latin, Encoding::Windows1252)] {
        let table = read("a.csv", bytes).unwrap();
        assert_eq!(
            (cells(&table)[0][0].as_str(), table.encoding),
            ("Très bon, 5 €", encoding)
        );
    }
    let table = read("a.csv", b"id,caf\xe9\n1,x\n").unwrap();
    assert_eq!(
        (names(&table), table.encoding),
        (vec!["id", "café"], Encoding::Windows1252)
    );
    let table = read("a.jsonl", b"{\"review\": \"tr\xe8s bon\"}\n").unwrap();
    assert_eq!(
        (cells(&table)[0][0].as_str(), table.encoding),
        ("très bon", Encoding::Windows1252)
    );
    let table = read("a.txt", b"bien\ntr\xe8s bien\n").unwrap();
    assert_eq!(
        (cells(&table)[1][0].as_str(), table.encoding),
        ("très bien", Encoding::Windows1252)
    );
    assert_eq!(table.problems, [], "one note for all of it is enough");
}

#[test]
fn two_encodings_in_a_file_are_read_side_by_side_and_told() {
    let other = |count, first: &[usize]| {
        [Problem {
            fault: Fault::NotUtf8,
            count,
            first: first.to_vec(),
        }]
    };
    let csv = [
        b"review,note\n",
        &b"tr\xe8s,x\n"[..],
        "😍,été\n".as_bytes(),
        b"plain,\xe9t\xe9\n",
        b"\xe0,\xe8\n",
    ]
    .concat();
    let table = read("a.csv", &csv).unwrap();
    assert_eq!(
        cells(&table),
        [["très", "x"], ["😍", "été"], ["plain", "été"], ["à", "è"]]
    );
    assert_eq!(
        (table.encoding, table.problems.as_slice()),
        (Encoding::Utf8, &other(3, &[1, 3, 4])[..])
    );
    // A byte order mark means UTF-8, even if all non-ASCII bytes of the file are not UTF-8.
    let marked = read(
        "a.csv",
        [b"\xef\xbb\xbf", &b"review,note\ntr\xe8s,x\n"[..]].concat(),
    )
    .unwrap();
    assert_eq!(
        (
            cells(&marked)[0][0].as_str(),
            marked.encoding,
            marked.problems.as_slice()
        ),
        ("très", Encoding::Utf8, &other(1, &[1])[..])
    );
    let table = read(
        "a.jsonl",
        ["{\"a\": \"😍\"}\n".as_bytes(), b"{\"a\": \"tr\xe8s\"}\n"].concat(),
    )
    .unwrap();
    assert_eq!(
        (cells(&table), table.encoding, table.problems.as_slice()),
        (
            vec![vec!["😍".to_string()], vec!["très".into()]],
            Encoding::Utf8,
            &other(1, &[2])[..]
        )
    );
}

#[test]
fn json_lines_keep_what_they_hold() {
    let json = "\u{feff}{\"review\": \"two\\nlines \\ud83d\\ude0d\", \"star\": 5.0, \"id\": null}\r\n\n{\"app\": {\"name\": \"x\"}, \"review\": \"fine\"}\n";
    let table = read("a.jsonl", json).unwrap();
    assert_eq!(names(&table), ["review", "star", "id", "app"]);
    assert_eq!(
        cells(&table),
        [
            ["two\nlines 😍", "5.0", "", ""],
            ["fine", "", "", "{\"name\": \"x\"}"]
        ]
    );
    assert_eq!(table.columns[2].raw(0), b"null", "it stays what it is");
    assert_eq!(
        table.problems,
        [Problem {
            fault: Fault::EmptyLine,
            count: 1,
            first: vec![2]
        }]
    );

    let table = read(
        "a.ndjson",
        "{\"review\": \"a\"}\n[1]\n{\"review\": \n{\"review\": \"b\"}\n",
    )
    .unwrap();
    assert_eq!(cells(&table), [["a"], ["b"]]);
    let [
        Problem {
            fault: Fault::NotJson(why),
            count: 2,
            first,
        },
    ] = table.problems.as_slice()
    else {
        panic!("{:?}", table.problems)
    };
    assert!(
        why.contains("JSON object") && *first == [2, 3],
        "{why} {first:?}"
    );
    let error = read("a.jsonl", "[\n  1\n]\n").unwrap_err();
    assert!(
        matches!(&error, Error::Json { why, .. } if !why.is_empty()),
        "{error}"
    );
}

#[test]
fn text_is_a_review_a_line() {
    let table = read("a.txt", "one, two\r\n\r\n\t\nthree \"four\"").unwrap();
    assert_eq!(
        (names(&table), cells(&table)),
        (
            vec!["review"],
            vec![vec!["one, two".to_string()], vec!["three \"four\"".into()]]
        )
    );
    assert_eq!(
        table.problems,
        [Problem {
            fault: Fault::EmptyLine,
            count: 2,
            first: vec![2, 3]
        }]
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let error = |name, bytes: &[u8]| read(name, bytes).unwrap_err().to_string();
    for (name, bytes, says) in [
        (
            "a.xlsx",
            &b"PK"[..],
            "wanted .csv, .tsv, .jsonl, .parquet or .txt",
        ),
        ("reviews", b"x", "wanted .csv"),
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"review,star\n", "is empty"),
        ("a.txt", b"\n\n", "is empty"),
        (
            "a.parquet",
            b"PAR1 and then nothing",
            "cannot be read as Parquet",
        ),
    ] {
        assert!(
            error(name, bytes).contains(says),
            "{name}: {}",
            error(name, bytes)
        );
    }
    let large = Opening {
        name: "a.csv".into(),
        bytes: 3 << 30,
        header: None,
    };
    assert!(
        Reader::open(&large)
            .err()
            .unwrap()
            .to_string()
            .contains("3221 MB, but a page reads at most 1073 MB")
    );
}

/// A file with three columns, of which `score` has gaps.
fn parquet_file(compression: Compression, version: WriterVersion) -> Vec<u8> {
    let schema = "message m { required binary review (STRING); required int64 star; optional double score; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_writer_version(version)
        .build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for group in 0..2i64 {
        let mut rows = writer.next_row_group().unwrap();
        let reviews: Vec<ByteArray> = (0..100)
            .map(|i| {
                format!("review {i}, \"quoted\" 😍 {}", "again ".repeat(9))
                    .as_str()
                    .into()
            })
            .collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&reviews, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(
                &(0..100).map(|i| (i + group) % 5 + 1).collect::<Vec<_>>(),
                None,
                None,
            )
            .unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column
            .typed::<DoubleType>()
            .write_batch(
                &[0.5; 50],
                Some(&(0..100).map(|i| i % 2).collect::<Vec<_>>()),
                None,
            )
            .unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    writer.close().unwrap();
    file
}

#[test]
fn parquet_is_read_however_it_is_compressed() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let gzip = Compression::GZIP(GzipLevel::default());
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        gzip,
        Compression::LZ4_RAW,
        zstd,
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let table = read("a.parquet", parquet_file(compression, version))
                .unwrap_or_else(|e| panic!("{compression:?}: {e}"));
            assert_eq!(
                (table.rows, names(&table)),
                (200, vec!["review", "star", "score"]),
                "{compression:?}"
            );
            let cells = cells(&table);
            assert!(
                cells[107][0].starts_with("review 7, \"quoted\" 😍 again"),
                "{:?}",
                cells[107]
            );
            assert_eq!(
                (
                    cells[7][1].as_str(),
                    cells[107][1].as_str(),
                    cells[7][2].as_str(),
                    cells[8][2].as_str()
                ),
                ("3", "4", "0.5", "")
            );
        }
    }
}
