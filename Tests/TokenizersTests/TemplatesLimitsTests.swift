import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Templates from strangers: they must end, and say why.
@Suite struct TemplatesLimitsTests {
  private func code(_ template: String) -> Problem.Code? {
    var limits = Jinja.Limits()
    limits.steps = 500_000
    do throws(Problem) {
      _ = try ChatTemplate(source: template).render([("l", Jinja.Value([1, 2, 3]))], limits: limits)
      return nil
    } catch { return error.code }
  }

  @Test(arguments: [
    // Endless recursion, endless loops, and texts and lists that double.
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for x in l recursive %}{{ loop(l) }}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s|replace('x', 'xx') %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = [n.s, n.s]|join %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = '%s%s' % (n.s, n.s) %}{% endfor %}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = '{0}{0}'.format(n.s) %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=1) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s={}) %}{% for i in range(9999) %}{% set n.s = {'a': n.s} %}{% endfor %}{{ n.s|tojson }}",
    "{% set n = namespace(s=l) %}{% for i in range(9999) %}{% set n.s = n.s|map('int') %}{% endfor %}{{ n.s|list }}",
    "{{ 'x' * 99999999999 }}", "{{ [1] * 99999999999 }}", "{{ 'x' * 9223372036854775807 * 3 }}",
    "{{ 'x'|center(9999999999) }}", "{{ 'x'.ljust(9999999999) }}", "{{ '%9999999999d' % 1 }}",
    "{{ '{:9999999999}'.format(1) }}", "{{ 'x'|indent(9999999999) }}", "{{ l|tojson(indent=9999999999) }}",
    "{{ l|batch(9999999999, 'x')|list }}", "{{ range(9999999999) }}", "{{ ('x' * 9999999)|replace('', 'y' * 9999) }}",
    "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
  ])
  func hostileTemplatesEnd(template: String) {
    #expect(code(template) == .chatTemplateLimit, "\(template)")
  }

  /// Nesting of the source itself, which the parser's own stack must bear.
  @Test func deepSources() {
    for (open, inside, close) in [
      ("(", "1", ")"), ("[", "", "]"), ("{1: ", "1", "}"), ("not ", "1", ""), ("-", "1", ""), ("l[", "0", "]"),
      ("f(", "1", ")"), ("1 if ", "1", " else 1"), ("1 if 1 else ", "1", ""), ("l|map(", "1", ")"),
    ] {
      let text = String(repeating: open, count: 5000) + inside + String(repeating: close, count: 5000)
      #expect(code("{{ \(text) }}") == .chatTemplateLimit, "\(open)")
    }
    for suffix in [".a", "[0]", "()", "|string", " is defined"] {
      let problem = code("{{ l" + String(repeating: suffix, count: 5000) + " }}")
      #expect(problem == .chatTemplateLimit || problem == .chatTemplateSyntax, "\(suffix)")
    }
    for tag in ["if 1", "for x in l", "macro f()", "with", "set x", "filter upper", "generation", "call f()"] {
      #expect(code(String(repeating: "{% \(tag) %}", count: 5000)) == .chatTemplateLimit, "\(tag)")
    }
  }

  /// Long chains of operators are flat.
  @Test func longSources() {
    for (first, more) in [("1", " + 1"), ("1", " ~ 1"), ("1", " < 2"), ("1", " and 1"), ("1", " * 1"), ("'a'", " 'a'")]
    {
      #expect(code("{{ \(first)\(String(repeating: more, count: 20000)) }}") == nil, "\(more)")
    }
    let branches = String(repeating: "{% elif 0 %}x", count: 20000)
    #expect(code("{% if 0 %}\(branches){% endif %}") == nil)
  }

  /// The deepest evaluation allowed fits the smallest stack that threads have by default (512 KiB).
  @Test(arguments: [
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{% for i in [1] %}{% if i %}{{ [[f()|string]] }}{% endif %}{% endfor %}{% endmacro %}{{ f() }}",
    "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
    "{% macro f(x=f()) %}{% endmacro %}{{ f() }}", "{% macro f() %}{{ {1: f()}.x }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{% set x %}{% filter upper %}{{ f() }}{% endfilter %}{% endset %}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ 'x' if 1 + f()[1:2].y is defined and not f() == 1 }}{% endmacro %}{{ f() }}",
    "{% for x in l recursive %}{{ loop(l) }}{% endfor %}",
  ])
  func smallStack(template: String) async throws {
    #expect(try await codeOnSmallStack(template) == .chatTemplateLimit)
  }

  /// Iterators over iterators are called through all of them.
  @Test func chainOfIterators() async throws {
    let chain =
      "{% set n = namespace(s=l) %}{% for i in range(35) %}{% set n.s = n.s|map('string')|select %}{% endfor %}"
    #expect(try await codeOnSmallStack(chain + "{{ n.s|list }}") == nil)
  }

  private func codeOnSmallStack(_ template: String) async throws -> Problem.Code? {
    let template = try ChatTemplate(source: template)
    return await withCheckedContinuation { continuation in
      let thread = Thread {
        do throws(Problem) {
          _ = try template.render([("l", Jinja.Value([1, 2, 3]))])
          continuation.resume(returning: nil)
        } catch { continuation.resume(returning: error.code) }
      }
      thread.stackSize = 512 << 10
      thread.start()
    }
  }

  /// Random mutations of templates must neither trap nor hang.
  @Test(arguments: 0..<8) func mutatedTemplates(seed: Int) throws {
    let cases = try #require(JSON(parsing: fixture("templates.json"))["cases"]?.array)
    let context = try #require(JSON(parsing: fixture("templates.json"))["context"]?.members)
    let variables = context.pairs.map { ($0.key, Jinja.Value($0.value)) }
    var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1
    func random(_ count: Int) -> Int {
      // xorshift64 (Marsaglia 2003).
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(count))
    }
    let scraps = [
      "{{", "}}", "{%", "%}", "(", ")", "[", "]", "|", "'", "-", "%", "é", "99999999999", "{", "}", "**", ":",
    ]
    var outcomes = 0
    for _ in 0..<1500 {
      var bytes = Array(try #require(cases[random(cases.count)]["template"]?.string).utf8)
      let other = Array(try #require(cases[random(cases.count)]["template"]?.string).utf8)
      for _ in 0...random(3) {
        let place = random(bytes.count + 1)
        switch random(4) {
        case 0: bytes.insert(contentsOf: scraps[random(scraps.count)].utf8, at: place)
        case 1: bytes.removeSubrange(place..<min(bytes.count, place + random(4)))
        case 2: bytes.insert(contentsOf: other.dropFirst(random(other.count + 1)).prefix(random(12)), at: place)
        default: if place < bytes.count { bytes[place] = UInt8(random(256)) }
        }
      }
      do throws(Problem) {
        _ = try ChatTemplate(source: String(decoding: bytes, as: UTF8.self)).render(variables)
      } catch {
        outcomes += 1
        #expect(error.code.rawValue.hasPrefix("chat-template."))
      }
    }
    #expect(outcomes > 100)
  }
}
