public import EspalierBasics

/// The part of the Jinja2 template language that chat templates use, as transformers runs it: `trim_blocks` and
/// `lstrip_blocks` on, no escaping, nothing mutable but namespaces.
///
/// A template passes through ``Jinja/Lexer``, ``Jinja/Parser`` and ``Jinja/Interpreter``. Values behave as Python's
/// do (truth, printing, integer division, slices, order of dictionaries), because templates are written against it.
/// Templates come from strangers: nothing traps, and steps, output, nesting and sizes of values are limited.
enum Jinja {}

extension Problem.Code {
  /// The template is not well-formed; the message gives line and column.
  public static let chatTemplateSyntax = Problem.Code("chat-template.syntax")
  /// The template is well-formed, but cannot be rendered with these messages; the message gives line and column.
  public static let chatTemplateFailed = Problem.Code("chat-template.failed")
  /// The template itself refuses these messages (`raise_exception`).
  public static let chatTemplateRefused = Problem.Code("chat-template.refused")
  /// The template uses a part of Jinja that is not implemented; the message names it.
  public static let chatTemplateUnsupported = Problem.Code("chat-template.unsupported")
  /// Rendering took more steps, output or nesting than any chat needs.
  public static let chatTemplateLimit = Problem.Code("chat-template.limit")
  /// The model has no chat template.
  public static let chatTemplateMissing = Problem.Code("chat-template.missing")
}

extension Jinja {
  /// A place in the source, by byte.
  typealias Offset = Int

  /// The text of a template with line ends as `\n`, and without the last one.
  struct Source: Sendable {
    let bytes: [UInt8]

    init(_ text: String) {
      var bytes: [UInt8] = []
      bytes.reserveCapacity(text.utf8.count)
      var afterReturn = false
      for byte in text.utf8 {
        if byte == 0x0D {
          bytes.append(0x0A)
        } else if !(byte == 0x0A && afterReturn) {
          bytes.append(byte)
        }
        afterReturn = byte == 0x0D
      }
      if bytes.last == 0x0A { bytes.removeLast() }
      self.bytes = bytes
    }

    func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    /// `line 3, column 7`, both counted from 1, columns in code points.
    func place(_ offset: Offset) -> String {
      let before = bytes[..<min(offset, bytes.count)]
      let start = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
      let line = before.count { $0 == 0x0A } + 1
      let column = bytes[start..<before.endIndex].count { $0 & 0xC0 != 0x80 } + 1
      return "line \(line), column \(column)"
    }

    func problem(_ code: Problem.Code, _ message: String, at offset: Offset) -> Problem {
      Problem(code, "chat template, \(place(offset)): \(message)")
    }
  }

  /// What rendering may cost. The defaults are far above what any chat needs.
  struct Limits: Sendable {
    /// Evaluations of expressions and statements, elements made, and bytes of text made by the 64.
    var steps = 5_000_000
    /// Nested evaluations, which live on the thread's stack: up to some 4 KB each where all modules are compiled together.
    var depth = 90
    /// Bytes of one text, the output included.
    var textBytes = 1 << 26
    /// Elements of one value with everything inside it, and nesting of lists in lists.
    var elements = 4_000_000
    var nesting = 150
    /// Elements of a `range`, as in Jinja's sandbox.
    static let range = 100_000
  }
}
