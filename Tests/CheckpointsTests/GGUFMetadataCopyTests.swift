import EspalierCheckpoints
import Testing

@Suite struct GGUFMetadataCopyTests {
  /// Keys of a prefix, in order, with their types; a key that is there already keeps its place.
  @Test func keysAreCopiedAsTheyAre() {
    var source = GGUFMetadata()
    source.set("general.name", to: .text("source"))
    source.set("tokenizer.b", to: .u8s([1, 255]))
    source.set("tokenizer.a", to: .strings([[97], [0xFF]]))
    source.set("tokenizer.c", to: .u64(7))
    source.set("tokenizers", to: .truth(true))
    var target = GGUFMetadata()
    target.set("tokenizer.c", to: .text("old"))
    target.set("general.name", to: .text("target"))
    target.copyKeys(beginningWith: "tokenizer.", from: source)
    #expect(target.keys == ["tokenizer.c", "general.name", "tokenizer.b", "tokenizer.a"])
    #expect(target.text("general.name") == "target")
    #expect(target.type(of: "tokenizer.c") == .u64 && target.integer("tokenizer.c") == 7)
    #expect(target.array("tokenizer.b")?.elementType == .u8 && target.integers("tokenizer.b") == [1, 255])
    #expect(target.strings("tokenizer.a") == [[97], [0xFF]])
  }
}
