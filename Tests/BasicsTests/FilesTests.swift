import EspalierBasics
import TestSupport
import Testing

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

@Suite struct FilesTests {
  @Test func readsWhatItWroteAtAnyPosition() throws {
    try withTemporaryFolder { folder in
      let file = try File.writing("\(folder)/f")
      try file.write([5, 6, 7], at: 10)
      #expect(try file.size() == 13)
      #expect(try file.read(5, at: 8) == [0, 0, 5, 6, 7])
      #expect(try file.read(0, at: 100) == [])
      try file.resize(to: 11)
      try file.sync()
      #expect(try FileSystem.read("\(folder)/f") == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5])
    }
  }

  @Test func theEndOfTheFileIsAProblemThatSaysWhere() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([1, 2, 3], to: "\(folder)/f")
      let file = try File.reading("\(folder)/f")
      let problem = #expect(throws: Problem.self) { try file.read(4, at: 1) }
      #expect(problem?.code == .fileTruncated)
      #expect(problem?.message == "the file ends at byte 3, 2 bytes too early")
      #expect(problem?.context.file == "\(folder)/f")
    }
  }

  @Test func whatIsNoRegularFileIsNotRead() throws {
    try withTemporaryFolder { folder in
      #expect(throws: Problem.self) { try File.reading(folder) }
      #expect(mkfifo("\(folder)/pipe", 0o644) == 0)
      #expect(throws: Problem.self) { try File.reading("\(folder)/pipe") }
      let missing = #expect(throws: Problem.self) { try File.reading("\(folder)/none") }
      #expect(missing?.code == .fileMissing)
    }
  }

  @Test func whatExistsIsNotMadeAgain() throws {
    try withTemporaryFolder { folder in
      #expect(problem { try FileSystem.createFolder(folder) }?.code == .fileExists)
    }
  }

  @Test func smallFilesHaveALimit() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([1, 2, 3], to: "\(folder)/f")
      #expect(try FileSystem.read("\(folder)/f", limit: 3) == [1, 2, 3])
      #expect(throws: Problem.self) { try FileSystem.read("\(folder)/f", limit: 2) }
    }
  }

  @Test func writingReplacesTheWholeFile() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([1, 2, 3], to: "\(folder)/f")
      let old = try File.reading("\(folder)/f")
      try FileSystem.write([9], to: "\(folder)/f")
      #expect(try FileSystem.read("\(folder)/f") == [9])
      #expect(try old.read(3, at: 0) == [1, 2, 3])
      #expect(try FileSystem.list(folder) == ["f"])
    }
  }

  @Test func identityChangesWithTheContents() throws {
    try withTemporaryFolder { folder in
      let file = try File.writing("\(folder)/f")
      let before = try file.identity()
      #expect(try file.identity() == before && before.size == 0)
      try file.write([1], at: 0)
      #expect(try file.identity() != before)
    }
  }

  @Test func oneHolderOfALock() throws {
    try withTemporaryFolder { folder in
      let second = try File.writing("\(folder)/f")
      do {
        let first = try File.writing("\(folder)/f")
        #expect(first.tryLock())
        #expect(!second.tryLock())
      }
      #expect(second.tryLock())
    }
  }

  @Test func foldersAreMadeListedAndRemoved() throws {
    try withTemporaryFolder { folder in
      try FileSystem.createParents(of: "\(folder)/a/b/file")
      #expect(FileSystem.isFolder("\(folder)/a/b") && FileSystem.kind("\(folder)/a/b/file") == nil)
      for name in ["é", "Z", "a", "10", "9"] { try FileSystem.write([], to: "\(folder)/a/b/\(name)") }
      #expect(try FileSystem.list("\(folder)/a/b") == ["10", "9", "Z", "a", "é"])
      #expect(throws: Problem.self) { try FileSystem.createFolder("\(folder)/a") }
      try FileSystem.remove("\(folder)/a")
      #expect(try FileSystem.list(folder).isEmpty)
      #expect(throws: Problem.self) { try FileSystem.remove("\(folder)/a") }
    }
  }

  @Test func foldersAreExchangedInOneStep() throws {
    try withTemporaryFolder { folder in
      for name in ["a", "b"] {
        try FileSystem.createFolder("\(folder)/\(name)")
        try FileSystem.write(Array(name.utf8), to: "\(folder)/\(name)/f")
      }
      try FileSystem.exchange("\(folder)/a", "\(folder)/b")
      #expect(try FileSystem.read("\(folder)/a/f") == Array("b".utf8))
      #expect(try FileSystem.read("\(folder)/b/f") == Array("a".utf8))
      try FileSystem.syncFolder(folder)
    }
  }

  @Test func partsOfPaths() {
    #expect(FileSystem.parent(of: "/a/b/") == "/a")
    #expect(FileSystem.parent(of: "/a") == "/")
    #expect(FileSystem.parent(of: "a") == ".")
    #expect(FileSystem.parent(of: "a/b") == "a")
    #expect(FileSystem.lastComponent(of: "/a/b/") == "b")
    #expect(FileSystem.lastComponent(of: "/") == "/")
    #expect(FileSystem.join("a", "b") == "a/b")
    #expect(FileSystem.join(".", "b") == "b")
    #expect(FileSystem.join("a", "/b") == "/b")
    #expect(FileSystem.join("a", "~b") == "a/~b")
  }

  @Test func thereIsRoomOnTheDisk() throws {
    try withTemporaryFolder { folder in
      let free = try #require(FileSystem.freeBytes(at: "\(folder)/not/there/yet"))
      #expect(free > 0)
      let detour = "\(folder)/../\(FileSystem.lastComponent(of: folder))"
      #expect(FileSystem.resolved(detour) == FileSystem.resolved(folder))
      #expect(FileSystem.resolved("\(folder)/none") == nil)
    }
  }
}
