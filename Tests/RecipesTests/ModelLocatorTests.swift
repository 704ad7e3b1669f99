import EspalierBasics
import EspalierExecution
import EspalierRecipes
import TestSupport
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Where models are found. The cache's place is a variable of the whole process, so these tests run one by one.
@Suite(.serialized) struct ModelLocatorTests {
  private func withCache(_ body: (String, inout Workplace) throws -> Void) throws {
    try Workplace.with { place in
      let cache = place.path("cache")
      let before = FileSystem.environment("HF_HUB_CACHE")
      setenv("HF_HUB_CACHE", cache, 1)
      defer { if let before { setenv("HF_HUB_CACHE", before, 1) } else { unsetenv("HF_HUB_CACHE") } }
      try body("\(cache)/models--org--name", &place)
    }
  }

  /// What the first tensor of a copy of the model holds: which model it is.
  private func value(_ reference: String, in place: Workplace) throws -> Float? {
    var place = place
    place.options.policy = .init(force: true)
    return try place.run("merge_method: passthrough\nmodels: [{model: \(reference)}]").first("model.norm.weight")
  }

  private func cache(_ model: TinyLlama, as commit: String, in repository: String, refs: [String]) throws {
    try model.write(to: "\(repository)/snapshots/\(commit)")
    for ref in refs {
      try FileSystem.createParents(of: "\(repository)/refs/\(ref)")
      try FileSystem.write(Array(commit.utf8), to: "\(repository)/refs/\(ref)")
    }
  }

  @Test func hubNamesAreFoundInTheCache() throws {
    try withCache { repository, place in
      try cache(TinyLlama(value: 1), as: "c0ffee", in: repository, refs: ["main"])
      try cache(TinyLlama(value: 2), as: "beef", in: repository, refs: ["v2", "refs/pr/1"])
      #expect(try value("org/name", in: place) == 1)
      #expect(try value("org/name@v2", in: place) == 2)
      // Only a map can tell a revision with a slash from a path with an "@".
      #expect(try value("{model: {path: org/name, revision: refs/pr/1}}", in: place) == 2)
      #expect(try value("org/name@beef", in: place) == 2)
    }
  }

  @Test func whatIsMissingIsNamed() throws {
    try withCache { repository, place in
      try cache(TinyLlama(), as: "c0ffee", in: repository, refs: ["main"])
      let found = problems { try place.plan("merge_method: passthrough\nmodels:\n- model: org/name@v3\n") }
      #expect(found.map(\.code.rawValue) == ["checkpoint.missing"])
      #expect(found.first?.message == "the model org/name@v3 is not on this machine")
      #expect(found.first?.context.recipeLine == 3)
      #expect(found.first?.remedy?.contains("hf download org/name") == true)
      let path = problems { try place.plan("merge_method: passthrough\nmodels:\n- model: ./nowhere\n") }
      #expect(path.first?.remedy?.hasPrefix("Paths are taken from the recipe's folder") == true)
    }
  }

  /// A folder beside the recipe comes first, then `--models`, then the cache.
  @Test func folders() throws {
    try withCache { repository, place in
      try cache(TinyLlama(value: 3), as: "c0ffee", in: repository, refs: ["main"])
      place.options.models = place.path("models")
      try TinyLlama(value: 2).write(to: place.path("models/org/name"))
      #expect(try value("org/name", in: place) == 2)
      try TinyLlama(value: 1).write(to: place.path("org/name"))
      #expect(try value("org/name", in: place) == 1)
      #expect(try value("org/name@main", in: place) == 3)
      try TinyLlama(value: 4).write(to: place.path("models/plain"))
      #expect(try value("plain", in: place) == 4)
    }
  }

  @Test func allMissingModelsAreReported() throws {
    try withCache { _, place in
      let found = problems {
        try place.plan("merge_method: linear\nmodels:\n- model: x\n- model: y/z\nparameters: {weight: 1}\n")
      }
      #expect(found.map(\.context.recipeLine) == [3, 4])
    }
  }
}
