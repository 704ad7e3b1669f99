import EspalierBasics
import TestSupport
import Testing

@Suite struct JSONReaderTests {
  private func text(_ json: JSON) -> String { json.text() }

  /// RFC 8259 section by section: what must be accepted, and what it means.
  @Test(
    arguments: [
      ("null", .null), (" \t\r\n true \n", true), ("false", false), ("\"\"", ""), ("[]", []), ("{}", [:]),
      ("[ ]", []), ("{ }", [:]), ("[1,[2],{\"a\":[]}]", [1, [2], ["a": []]]), ("{\"\":null}", ["": nil]),
      (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{C}\n\r\t")),
      (#""\u0041\u00e9\u00E9\u0000""#, .string("A\u{E9}\u{E9}\0")), (#""\ud83d\ude00""#, "\u{1F600}"),
      (#""\uFFFF\uDBFF\uDFFF""#, "\u{FFFF}\u{10FFFF}"), ("\"\u{7F}\u{2028}\u{FEFF}é\"", "\u{7F}\u{2028}\u{FEFF}é"),
    ] as [(String, JSON)])
  func accepted(text: String, value: JSON) throws {
    #expect(try JSON(parsing: text) == value)
  }

  @Test(arguments: [
    "0", "-0", "7", "-12", "0.5", "1e5", "1E+05", "-1.50e-010", "123456789012345678901234567890", "1e999",
  ])
  func numbersKeepTheirDigits(text: String) throws {
    let value = try JSON(parsing: text)
    #expect(value == .literal(text))
    #expect(value.text() == text)
  }

  @Test func numbersMeanWhatTheySay() throws {
    #expect(try JSON(parsing: "9223372036854775807").integer == .max)
    #expect(try JSON(parsing: "9223372036854775808").integer == nil)
    #expect(try JSON(parsing: "1.0").integer == nil)
    #expect(try JSON(parsing: "1e2").integer == nil)
    #expect(try JSON(parsing: "-1.5e2").number == -150)
    #expect(try JSON(parsing: "\"1\"").number == nil)
  }

  /// Each with the byte at which reading stops.
  @Test(arguments: [
    ("", 0), ("  ", 2), ("nul", 0), ("nulL", 0), ("True", 0), ("NaN", 0), ("Infinity", 0), ("-Infinity", 1), ("+1", 0),
    ("01", 1), ("-", 1), ("-01", 2), ("1.", 2), (".5", 0), ("1.e1", 2), ("1e", 2), ("1e+", 3), ("0x1", 1), ("1 2", 2),
    ("[", 1), ("[1", 2), ("[1,", 3), ("[1,]", 3), ("[,1]", 1), ("[1 2]", 3), ("]", 0), ("[1}", 2),
    ("{", 1), ("{\"a\"", 4), ("{\"a\":", 5), ("{\"a\":1", 6), ("{\"a\":1,", 7), ("{\"a\":1,}", 7), ("{a:1}", 1),
    ("{\"a\" 1}", 5), ("{1:1}", 1), ("{\"a\":1]", 6), ("'a'", 0), ("\"", 1), ("\"a", 2), ("\"\\", 2), ("\"\\x\"", 3),
    ("\"\\u12\"", 5), ("\"\\u12G4\"", 5), ("\"\\u+123\"", 3), ("\"\n\"", 1), ("\"\t\"", 1), ("\"\0\"", 1),
    ("null null", 5), ("null,", 4), ("[1]//", 3), ("\u{FEFF}1", 0), ("\"\\ud83d\"", 7), ("\"\\ud83dx\"", 7),
    ("\"\\ud83d\\u0041\"", 13), ("\"\\ude00\"", 7), ("\"\\ud83d\\n\"", 8), ("\u{A0}1", 0), ("\u{C}1", 0),
  ])
  func refused(text: String, offset: Int) {
    #expect(throws: Problem.self) { try JSON(parsing: text) }
    do { _ = try JSON(parsing: text) } catch {
      #expect(error.code == .json)
      #expect(error.context.byteOffset == offset, "\(text): \(error.message)")
    }
  }

  @Test(
    arguments: [
      [0x80], [0xC3], [0xC3, 0x28], [0xC0, 0xAF], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xFF],
    ] as [[UInt8]])
  func badUTF8IsRefusedInStringsAndOutside(bytes: [UInt8]) {
    #expect(throws: Problem.self) { try JSON(parsing: [0x22] + bytes + [0x22]) }
    #expect(throws: Problem.self) { try JSON(parsing: Array("{\"".utf8) + bytes + Array("\":1}".utf8)) }
    #expect(throws: Problem.self) { try JSON(parsing: Array("\"\\n".utf8) + bytes + [0x22]) }
    #expect(throws: Problem.self) { try JSON(parsing: bytes) }
  }

  @Test func duplicateKeysAreRefusedHoweverWritten() {
    for text in [#"{"a":1,"a":1}"#, #"{"a":1,"b":2,"\u0061":3}"#, #"[{"x":{"k":1,"k":2}}]"#] {
      let error = #expect(throws: Problem.self) { try JSON(parsing: text) }
      #expect(error?.message.hasPrefix("invalid JSON: duplicate key") == true)
    }
  }

  @Test func canonicallyEquivalentKeysAreDifferentKeys() throws {
    let value = try JSON(parsing: "{\"\u{E9}\":1,\"e\u{301}\":2}")
    #expect(value.members?.count == 2)
    #expect(value["\u{E9}"] == 1)
    #expect(value["e\u{301}"] == 2)
    #expect(value.text() == "{\"\u{E9}\":1,\"e\u{301}\":2}")
  }

  @Test func canonicallyEquivalentValuesAreDifferentValues() throws {
    #expect(JSON.string("\u{E9}") != JSON.string("e\u{301}"))
    #expect(JSON.object([("\u{E9}", 1)]) != JSON.object([("e\u{301}", 1)]))
  }

  @Test func depthIsLimited() throws {
    func nested(_ open: String, _ close: String, _ depth: Int) -> String {
      String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
      #expect(try JSON(parsing: nested(open, close, 128)).text() == nested(open, close, 128))
      let error = #expect(throws: Problem.self) { try JSON(parsing: nested(open, close, 129)) }
      #expect(error?.message == "invalid JSON: nested deeper than 128 levels")
      #expect(throws: Problem.self) { try JSON(parsing: String(repeating: open, count: 1_000_000)) }
    }
    // Many side by side are no depth.
    #expect(
      try JSON(parsing: "[" + Array(repeating: "[]", count: 1000).joined(separator: ",") + "]").array?.count == 1000)
  }

  @Test func collectionsThatAreNotContiguousAreRead() throws {
    let bytes = "[1, 2]".utf8
    #expect(try JSON(parsing: bytes.lazy.map { $0 }) == [1, 2])
    #expect(try JSON(parsing: Array("x[1]x".utf8)[1..<4]) == [1])
  }
}

@Suite struct JSONValueTests {
  @Test func membersKeepTheirOrder() throws {
    var value = try JSON(parsing: #"{"z":1,"a":2,"m":3}"#)
    value["a"] = 4
    value["b"] = 5
    value["z"] = nil
    #expect(value.text() == #"{"a":4,"m":3,"b":5}"#)
    value["absent"] = nil
    #expect(value.members?.keys == ["a", "m", "b"])
  }

  @Test func lookingInsideOtherThingsGivesNothing() {
    var value: JSON = [1, "x"]
    #expect(value["key"] == nil)
    #expect(value[1] == "x")
    #expect(value[2] == nil)
    #expect(value[-1] == nil)
    value["key"] = 1
    #expect(value == [1, "x"])
  }

  @Test func writingEscapesWhatMustBe() {
    let text = JSON.string("\"\\/\u{8}\n\r\t\u{1}\u{1F}\u{7F}\u{E9}\u{1F600}").text()
    #expect(text == "\"\\\"\\\\/\\u0008\\n\\r\\t\\u0001\\u001f\u{7F}\u{E9}\u{1F600}\"")
  }

  @Test func prettyTextIsIndentedByTwo() {
    let value: JSON = ["a": [1, [:], []], "b": ["c": nil]]
    #expect(
      value.text(pretty: true) == """
        {
          "a": [
            1,
            {},
            []
          ],
          "b": {
            "c": null
          }
        }
        """)
  }

  @Test func whatIsNoNumberBecomesNull() {
    #expect(JSON.number(.nan) == .null)
    #expect(JSON.number(-.infinity) == .null)
    #expect(JSON.number(1e-5).number == 1e-5)
    #expect(JSON.number(0.1).text() == "0.1")
  }
}

/// Random values, written and read; random damage, which must be refused or read, never trap.
@Suite struct JSONPropertyTests {

  private func string(_ random: inout SeededGenerator) -> String {
    var text = ""
    for _ in 0..<Int.random(in: 0...6, using: &random) {
      let limit: UInt32 = [0x20, 0x80, 0x3000, 0x11_0000].randomElement(using: &random) ?? 0x80
      if let scalar = UnicodeScalar(UInt32.random(in: 0..<limit, using: &random)) { text.unicodeScalars.append(scalar) }
    }
    return text
  }

  private func value(_ depth: Int, _ random: inout SeededGenerator) -> JSON {
    switch Int.random(in: 0...(depth > 0 ? 6 : 4), using: &random) {
    case 0: return .null
    case 1: return .bool(Bool.random(using: &random))
    case 2: return .number(Int(truncatingIfNeeded: random.next()))
    case 3: return .number(Double(bitPattern: random.next()))
    case 4: return .string(string(&random))
    case 5: return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(depth - 1, &random) })
    default:
      return .object(
        (0..<Int.random(in: 0...4, using: &random)).map { _ in (string(&random), value(depth - 1, &random)) })
    }
  }

  @Test(arguments: UInt64(1)...200)
  func whatIsWrittenIsReadBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let value = value(5, &random)
    for text in [value.text(), value.text(pretty: true)] {
      let back = try JSON(parsing: text)
      #expect(back == value, "seed \(seed)")
      #expect(back.text() == value.text(), "seed \(seed)")
    }
  }

  @Test(arguments: UInt64(1)...200)
  func damageIsReadOrRefused(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var bytes = Array(value(5, &random).text().utf8)
    for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
      let place = Int.random(in: bytes.indices, using: &random)
      switch Int.random(in: 0...2, using: &random) {
      case 0: bytes[place] = UInt8.random(in: .min ... .max, using: &random)
      case 1: bytes.remove(at: place)
      default: bytes.removeSubrange(place...)
      }
    }
    do {
      // Whatever was read can be written and read again, and is the same.
      let value = try JSON(parsing: bytes)
      #expect((try? JSON(parsing: value.text())) == value, "seed \(seed)")
    } catch {
      #expect(error.code == .json, "seed \(seed)")
      #expect((0...bytes.count).contains(error.context.byteOffset ?? -1), "seed \(seed)")
    }
  }

  /// What Python writes for numbers that JSON lacks.
  @Test func infinityWhereItIsAccepted() throws {
    let bytes = Array(#"{"limit": [0.0, Infinity, -Infinity, -1, NaN]}"#.utf8)
    let json = try JSON(parsing: bytes, acceptingInfinity: true)
    #expect(
      json["limit"]?.array?[1...] == [
        ["__float__": "Infinity"], ["__float__": "-Infinity"], .number(-1), ["__float__": "NaN"],
      ])
    #expect(throws: Problem.self) { try JSON(parsing: bytes) }
    #expect(throws: Problem.self) { try JSON(parsing: Array("[Inf]".utf8), acceptingInfinity: true) }
    #expect(throws: Problem.self) { try JSON(parsing: Array("-Infinit".utf8), acceptingInfinity: true) }
  }
}
